/* Bringing a network's file here: see fetch.h. */
#include "models/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNECT_SECONDS = 30, SILENCE_SECONDS = 60, REDIRECTS_MAX = 5, COPY_BYTES = 1 << 20 };

/* Where the bytes go. A failure is kept here, since libcurl only knows that writing failed. */
struct sink {
    int fd;
    const char *path, *source;
    size_t size, size_max;
    struct error failure;
};

static bool sink_write(struct sink *sink, const char *bytes, size_t size)
{
    if (size > sink->size_max - sink->size) {
        error_set(&sink->failure, STATUS_TOO_LARGE, "'%s' has more than %zu bytes", sink->source,
                  sink->size_max);
        return false;
    }
    sink->size += size;
    while (size > 0) {
        const ssize_t put = write(sink->fd, bytes, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            error_set_errno(&sink->failure, errno, "cannot write '%s'", sink->path);
            return false;
        }
        bytes += put;
        size -= (size_t)put;
    }
    return true;
}

/* --- From an address */

static size_t take_bytes(char *bytes, size_t size, size_t count, void *context)
{
    return sink_write(context, bytes, size * count) ? size * count : 0;
}

static bool set_options(CURL *curl, struct sink *sink, char *reason)
{
    return curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_URL, sink->source) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https,file") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_SECONDS) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "ocelli/" OCELLI_VERSION) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink) == CURLE_OK;
}

static int fetch_address(struct sink *sink, struct error *err)
{
    char reason[CURL_ERROR_SIZE] = "";

    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to fetch '%s'", sink->source);
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (set_options(curl, sink, reason))
        code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    if (sink->failure.code != STATUS_OK)
        return error_set(err, (enum status)sink->failure.code, "%s", sink->failure.message);
    if (code == CURLE_UNSUPPORTED_PROTOCOL)
        return error_set(err, STATUS_UNSUPPORTED, "'%s': only http, https and file are fetched",
                         sink->source);
    if (code == CURLE_HTTP_RETURNED_ERROR || code == CURLE_FILE_COULDNT_READ_FILE)
        return error_set(err, STATUS_NOT_FOUND, "cannot fetch '%s': %s", sink->source, reason);
    if (code != CURLE_OK)
        return error_set(err, STATUS_IO, "cannot fetch '%s': %s", sink->source,
                         reason[0] != '\0' ? reason : curl_easy_strerror(code));
    return STATUS_OK;
}

/* --- From a file */

static int copy_file(struct sink *sink, struct error *err)
{
    const size_t piece = COPY_BYTES;
    int status = STATUS_OK;
    char *bytes = NULL;

    const int fd = open(sink->source, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot open '%s'", sink->source);
    bytes = malloc(piece);
    if (bytes == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory to copy '%s'", sink->source);
        goto done;
    }
    for (ssize_t got; status == STATUS_OK && (got = read(fd, bytes, piece)) != 0;) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = error_set_errno(err, errno, "cannot read '%s'", sink->source);
        else if (!sink_write(sink, bytes, (size_t)got))
            status = error_set(err, (enum status)sink->failure.code, "%s", sink->failure.message);
    }
done:
    free(bytes);
    close(fd);
    return status;
}

int fetch_file(const char *source, const char *path, size_t size_max, struct error *err)
{
    struct sink sink = {.path = path, .source = source, .size_max = size_max};

    sink.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (sink.fd < 0)
        return error_set_errno(err, errno, "cannot create '%s'", path);
    int status = strstr(source, "://") != NULL ? fetch_address(&sink, err) : copy_file(&sink, err);
    if (status == STATUS_OK && fsync(sink.fd) != 0)
        status = error_set_errno(err, errno, "cannot sync '%s'", path);
    if (close(sink.fd) != 0 && status == STATUS_OK)
        status = error_set_errno(err, errno, "cannot close '%s'", path);
    return status;
}
