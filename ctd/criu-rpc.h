/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers of criu's rpc.proto: what it answers. */
#pragma once

#define CRIU_TYPE_NOTIFY 6

enum {
	CRIU_RESP_TYPE = 1,
	CRIU_RESP_SUCCESS = 2,
	CRIU_RESP_RESTORE = 4,
	CRIU_RESP_NOTIFY = 5,
	CRIU_RESP_ERRNO = 7,
	CRIU_RESP_MESSAGE = 9,
	CRIU_NOTIFY_SCRIPT = 1,
	CRIU_NOTIFY_PID = 2,
};
