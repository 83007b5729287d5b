#include "tidemark.h"
