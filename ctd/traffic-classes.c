/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Classes of traffic of ctd.conf: from there into the host's tables, and what happens when they change.
 *
 * The kernel knows classes by their number. Which names the numbers had is in RUNTIME/classes, which lives as
 * long as the counters do: if the names are others now, the counters begin anew and running containers get
 * their rates again. Other prefixes of the same classes change nothing of that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/manager.h"
#include "ctd/traffic.h"

static char *file_of(const struct manager *m)
{
	return str_printf("%s/classes", m->conf.runtime_dir);
}

static int names_of(const struct manager *m, struct strbuf *b)
{
	for (unsigned i = 0; i < m->conf.n_classes; i++)
		(void)strbuf_printf(b, "%s\n", m->conf.classes[i].name);
	return b->error;
}

/* Whether there are classes, or were. */
static bool is_used(const struct manager *m)
{
	_cleanup_free_ char *path = file_of(m);

	return m->conf.n_classes > 0 || (path && access(path, F_OK) == 0);
}

int traffic_classes_apply(struct manager *m, struct ct_error *err)
{
	struct net_class classes[NET_CLASSES_MAX];

	if (!is_used(m))
		return 0;
	for (unsigned i = 0; i < m->conf.n_classes; i++)
		classes[i] = (struct net_class){ m->conf.classes[i].prefixes, m->conf.classes[i].n };
	return net_classes_apply(m->net, classes, m->conf.n_classes, err);
}

static int remember(const char *path, const struct strbuf *names)
{
	_cleanup_close_ int fd = -1;

	(void)unlink(path); /* often it is not there */
	if (names->len == 0)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? -errno : write_all(fd, names->data, names->len);
}

int traffic_classes_check(struct manager *m, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf names = STRBUF_INIT;
	_cleanup_free_ char *path = file_of(m), *before = NULL;
	int r = names_of(m, &names);

	if (!path || r < 0)
		return ct_error_set(err, -ENOMEM, "traffic", "out of memory");
	r = read_file_at(AT_FDCWD, path, 4096, &before, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(err, r, "traffic", "cannot read \"%s\": %s", path, strerror(-r));
	if (str_eq(before ? before : "", names.len ? names.data : ""))
		return 0;

	r = net_classes_reset(m->net, err);
	if (r >= 0)
		r = traffic_forget_classes(m, err);
	if (r < 0)
		return r;
	r = remember(path, &names);
	if (r < 0)
		return ct_error_set(err, r, "traffic", "cannot write \"%s\": %s", path, strerror(-r));
	m->classes_changed = true;
	return 0;
}
