/*
 * The process that has the kernel count, and holds on to that. When a program is detached, the
 * kernel waits for a while until nobody can be running it, one after the other: more than a
 * second in all. It is this process that waits then, when its client has ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "testimony.h"

static int create_map(union bpf_attr *attributes, int *ret, struct tm_error *error)
{
	*ret = tm_bpf(BPF_MAP_CREATE, attributes);
	if (*ret >= 0)
		return TM_OK;
	return tm_fail(error, errno == EPERM ? TM_FORBIDDEN : TM_UNSUPPORTED, "make a BPF map");
}

static int create_maps(struct tm_testimony_maps *maps, struct tm_error *error)
{
	union bpf_attr objects = {.map_type = BPF_MAP_TYPE_HASH};
	union bpf_attr area = {.map_type = BPF_MAP_TYPE_ARRAY};
	int code;

	objects.key_size = sizeof(struct tm_object_key);
	objects.value_size = sizeof(uint64_t);
	objects.max_entries = TM_TESTIMONY_OBJECTS;
	objects.map_flags = BPF_F_NO_PREALLOC;
	area.key_size = sizeof(uint32_t);
	area.value_size = sizeof(struct tm_tally_area);
	area.max_entries = 1;
	area.map_flags = BPF_F_MMAPABLE;
	code = create_map(&objects, &maps->objects, error);
	return code == TM_OK ? create_map(&area, &maps->area, error) : code;
}

/* Sends the answer, and with it what was made. */
static void answer(int socket, const struct tm_testimony_answer *answer,
		   struct tm_testimony_maps maps, const struct tm_testimony_programs *programs)
{
	int descriptors[TM_TESTIMONY_PROGRAMS + 2] = {maps.objects, maps.area};
	char room[CMSG_SPACE(sizeof(descriptors))] = {0};
	struct iovec content = {(void *)answer, sizeof(*answer)};
	struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1};
	size_t size = (2 + programs->count) * sizeof(int);
	struct cmsghdr *head;

	if (answer->error.code == TM_OK) {
		memcpy(descriptors + 2, programs->programs, programs->count * sizeof(int));
		message.msg_control = room;
		message.msg_controllen = CMSG_SPACE(size);
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(head), descriptors, size);
	}
	sendmsg(socket, &message, MSG_NOSIGNAL);
}

void tm_testimony_serve(int socket)
{
	struct tm_testimony_maps maps = {-1, -1};
	struct tm_testimony_programs programs = {0};
	struct tm_testimony_answer said = {0};
	char nothing;
	int code = chdir("/"); /* no directory is in use for longer than its users last */

	code = create_maps(&maps, &said.error);
	if (code == TM_OK)
		code = tm_testimony_attach(maps, &programs, &said.error);
	said.error.code = code;
	said.programs = (uint32_t)programs.count;
	said.huge = programs.huge;
	answer(socket, &said, maps, &programs);
	while (code == TM_OK && (read(socket, &nothing, 1) > 0 || errno == EINTR))
		errno = 0;
}
