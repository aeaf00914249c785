/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ctd reads for the gate: the secret that clients have to say, the certificate and the key of TLS, and
 * the authority of clients.
 *
 * The gate can open no file, and could not read the secrets among these; it gets what is in them as sealed
 * memory files each time that it is started. Token and key are in files of root that only root may read; the
 * others are public, but who may write them says whom the gate trusts, so they are root's too. A file that
 * others may read is no secret, and one that does not read is not done without: then metrics are not served.
 *
 * Certificates are renewed while ctd runs, often by a link that is moved. The stamp of the files says whether
 * what is behind their names is what was read.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "ctd/conf.h"
#include "ctd/gate-proto.h"

#define PEM_BEGIN "-----BEGIN "

static const struct {
	const char *key; /* of ctd.conf */
	bool secret;
	bool may_be_link;
	size_t max;
} kinds[_GATE_FILE_MAX] = {
	[GATE_FILE_TOKEN] = { "metrics-token", true, false, GATE_TOKEN_MAX + 1 }, /* and a newline */
	[GATE_FILE_CERTIFICATE] = { "metrics-certificate", false, true, GATE_PEM_MAX },
	[GATE_FILE_KEY] = { "metrics-key", true, true, GATE_PEM_MAX },
	[GATE_FILE_CLIENT_CA] = { "metrics-client-ca", false, false, GATE_PEM_MAX },
};

static const char *path_of(const struct conf *conf, enum gate_file kind)
{
	switch (kind) {
	case GATE_FILE_TOKEN: return conf->metrics_token;
	case GATE_FILE_CERTIFICATE: return conf->metrics_certificate;
	case GATE_FILE_KEY: return conf->metrics_key;
	case GATE_FILE_CLIENT_CA: return conf->metrics_client_ca;
	case _GATE_FILE_MAX: break;
	}
	return NULL;
}

static bool is_token(const char *text, size_t len)
{
	if (len < GATE_TOKEN_MIN || len > GATE_TOKEN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

/* The token is reached by no link, and the authority of clients neither: whoever moved that to another file
 * of root's, as to the authorities that all of the world trusts, would have opened the door. Certificate and
 * key often are, where they are renewed: moved to another such file they are a pair that does not serve. */
static int open_checked(const char *path, enum gate_file kind, struct ct_error *err)
{
	const bool secret = kinds[kind].secret;
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (kinds[kind].may_be_link ? 0 : O_NOFOLLOW));
	if (fd < 0 && errno == ELOOP && !kinds[kind].may_be_link)
		return ct_error_set(err, -ELOOP, "gate",
		        "%s \"%.100s\" is a symbolic link: name the file itself", kinds[kind].key, path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return ct_error_set(err, -errno, "gate", "cannot open %s \"%.100s\": %s", kinds[kind].key,
		        path, strerror(errno));
	if (!S_ISREG(st.st_mode) || (st.st_mode & (secret ? 0077 : 0022)) != 0 || st.st_uid != geteuid())
		return ct_error_set(err, -EPERM, "gate",
		        secret ? "%s \"%.100s\" must be a file of root that only root may read (chown root, chmod 600)"
		               : "%s \"%.100s\" must be a file of root that only root may write (chown root, chmod 644)",
		        kinds[kind].key, path);
	return TAKE_FD(fd);
}

/* Into a sealed memory file. What is in PEM is for the gate to understand. */
static int take(const char *path, enum gate_file kind, char *text, size_t len, struct ct_error *err)
{
	int r;

	if (kind == GATE_FILE_TOKEN) {
		if (len > 0 && text[len - 1] == '\n')
			len--;
		if (!is_token(text, len))
			return ct_error_set(err, -EINVAL, "gate",
			        "metrics-token \"%.100s\" must hold one line of 16 to 256 letters, digits and signs",
			        path);
	} else if (len > kinds[kind].max || !memmem(text, len, PEM_BEGIN, strlen(PEM_BEGIN))) {
		return ct_error_set(err, -EINVAL, "gate",
		        "%s \"%.100s\" must be a file in PEM format of at most %zu bytes", kinds[kind].key,
		        path, kinds[kind].max);
	}
	r = memfd_sealed(kinds[kind].key, text, len);
	return r < 0 ? ct_error_set(err, r, "gate", "out of memory") : r;
}

static int read_into_memory(const char *path, enum gate_file kind, struct ct_error *err)
{
	char text[GATE_PEM_MAX + 1]; /* one byte that is too much */
	_cleanup_close_ int fd = open_checked(path, kind, err);
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	n = read_all(fd, text, kinds[kind].max + 1);
	if (n < 0)
		return ct_error_set(err, (int)n, "gate", "cannot read %s \"%.100s\": %s", kinds[kind].key,
		        path, strerror((int)-n));
	r = take(path, kind, text, (size_t)n, err);
	explicit_bzero(text, sizeof(text));
	return r;
}

void gate_files_done(struct gate_files *files)
{
	for (unsigned i = 0; i < _GATE_FILE_MAX; i++)
		files->fd[i] = fd_close(files->fd[i]);
}

int gate_files_open(const struct conf *conf, struct gate_files *ret, struct ct_error *err)
{
	struct gate_files files = GATE_FILES_INIT;

	gate_files_stamp(conf, &files.stamp); /* before: what changes meanwhile is seen afterwards */
	for (unsigned i = 0; i < _GATE_FILE_MAX; i++) {
		const char *path = path_of(conf, i);

		if (!path)
			continue;
		files.fd[i] = read_into_memory(path, i, err);
		if (files.fd[i] < 0) {
			int r = files.fd[i];

			gate_files_done(&files);
			return r;
		}
	}
	*ret = files;
	return 0;
}

void gate_files_stamp(const struct conf *conf, struct gate_stamp *ret)
{
	*ret = (struct gate_stamp){ 0 };
	for (unsigned i = 0; i < _GATE_FILE_MAX; i++) {
		const char *path = path_of(conf, i);
		struct stat st;

		if (!path || stat(path, &st) < 0)
			continue; /* not there is a stamp as well */
		ret->of[i][0] = st.st_dev;
		ret->of[i][1] = st.st_ino;
		ret->of[i][2] = (uint64_t)st.st_size;
		ret->of[i][3] = (uint64_t)st.st_ctim.tv_sec;
		ret->of[i][4] = (uint64_t)st.st_ctim.tv_nsec;
	}
}
