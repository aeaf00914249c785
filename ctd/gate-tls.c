/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TLS of the gate: by GnuTLS, inside libmicrohttpd.
 *
 * Certificate and key come as memory files and are tried before the gate says that it is ready, because
 * libmicrohttpd only says that it does not start. TLS 1.2 and 1.3; a client that says anything else, plain
 * HTTP too, gets no answer.
 *
 * libmicrohttpd (0.9.75) asks a client for a certificate where there is an authority, and takes what comes,
 * or nothing. So each request is looked at here: signed by the authority, now valid, and not one that is only
 * for servers. Who has none hears 403 over his own TLS, which helps to find out why; nothing else is said.
 */
#include "ctd/gate-tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

static int read_text(int fd, char **ret, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return ct_error_set(err, -errno, "tls", "cannot read what ctd gave: %s", strerror(errno));
	text = calloc(1, (size_t)st.st_size + 1);
	if (!text || pread(fd, text, (size_t)st.st_size, 0) != st.st_size)
		return ct_error_set(err, text ? -EIO : -ENOMEM, "tls", "cannot read what ctd gave");
	*ret = TAKE_PTR(text);
	return 0;
}

static gnutls_datum_t datum(char *text)
{
	return (gnutls_datum_t){ .data = (unsigned char *)text, .size = (unsigned)strlen(text) };
}

static int try_pair(gnutls_certificate_credentials_t with, struct gate_tls *tls, struct ct_error *err)
{
	const gnutls_datum_t certificate = datum(tls->certificate), key = datum(tls->key);
	int r = gnutls_certificate_set_x509_key_mem(with, &certificate, &key, GNUTLS_X509_FMT_PEM);

	if (r < 0)
		return ct_error_set(err, -EINVAL, "tls",
		        "metrics-certificate and metrics-key cannot be used: %s They must be PEM, and belong together",
		        gnutls_strerror(r));
	return 0;
}

static int try_authority(gnutls_certificate_credentials_t with, struct gate_tls *tls, struct ct_error *err)
{
	gnutls_datum_t authority;
	int n;

	if (!tls->client_ca)
		return 0;
	authority = datum(tls->client_ca);
	n = gnutls_certificate_set_x509_trust_mem(with, &authority, GNUTLS_X509_FMT_PEM);
	if (n <= 0)
		return ct_error_set(err, -EINVAL, "tls",
		        "metrics-client-ca has no certificate that can be used: %s",
		        n < 0 ? gnutls_strerror(n) : "it is empty");
	return 0;
}

static int try_all(struct gate_tls *tls, struct ct_error *err)
{
	gnutls_certificate_credentials_t with = NULL;
	int r;

	if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
		return ct_error_set(err, -EOPNOTSUPP, "tls",
		        "this host's libmicrohttpd has no TLS: leave metrics-certificate out");
	if (gnutls_certificate_allocate_credentials(&with) < 0)
		return ct_error_set(err, -ENOMEM, "tls", "out of memory");
	r = try_pair(with, tls, err);
	if (r >= 0)
		r = try_authority(with, tls, err);
	gnutls_certificate_free_credentials(with);
	return r;
}

int gate_tls_load(
        struct gate_tls *tls, int certificate_fd, int key_fd, int client_ca_fd, struct ct_error *err)
{
	int r = read_text(certificate_fd, &tls->certificate, err);

	if (r >= 0)
		r = read_text(key_fd, &tls->key, err);
	if (r >= 0)
		r = read_text(client_ca_fd, &tls->client_ca, err);
	if (r < 0 || (!tls->certificate && !tls->key && !tls->client_ca))
		return r;
	if (!tls->certificate || !tls->key) /* ctd.conf(5) does not let it be */
		return ct_error_set(err, -EINVAL, "tls", "there is half of what TLS needs");
	return try_all(tls, err);
}

void gate_tls_options(const struct gate_tls *tls, struct MHD_OptionItem options[GATE_TLS_OPTIONS])
{
	unsigned n = 0;

	if (tls->key) {
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0, tls->key };
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0, tls->certificate };
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
			(void *)(uintptr_t)PRIORITIES };
	}
	if (tls->client_ca)
		options[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_TRUST, 0, tls->client_ca };
	options[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
}

bool gate_tls_admits(const struct gate_tls *tls, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info;
	gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT };
	unsigned status = 1;

	if (!tls->client_ca)
		return true;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	return info && info->tls_session &&
	       gnutls_certificate_verify_peers(info->tls_session, &purpose, 1, &status) == 0 && status == 0;
}
