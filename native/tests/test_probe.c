/* Each probe answers yes, or no with a reason; and a yes is a feature that really works. */
#include <string.h>

#include "check.h"

int main(void)
{
	for (int feature = 0; feature < TM_FEATURE_COUNT; feature++) {
		struct tm_error error;
		int code = tm_probe(feature, &error);

		CHECK(code == TM_OK || error.what[0] != '\0');
		CHECK(code == TM_OK || error.code == code);
		printf("%s: %s\n", tm_feature_name(feature), code == TM_OK ? "yes" : error.what);
	}
	CHECK(tm_feature_name(TM_FEATURE_COUNT) == NULL && tm_feature_name(-1) == NULL);
	return 0;
}
