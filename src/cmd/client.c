/* The client: see client.h. One libcurl handle, which keeps its connection between requests. */
#include "cmd/client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

enum {
    CONNECT_TIMEOUT_MS = 10000,
    TIMEOUT_MS = 120000, /* longer than any request may take by the server's own bounds */
    ANSWER_BYTES_MAX = 64 << 20,
};

struct client {
    CURL *curl;
    char *base;                /* without a slash at its end */
    struct curl_slist *common; /* headers of every request */
    struct curl_slist *json;   /* and of those with a JSON body */
    struct buffer answer;
    CURLcode last;
    char reason[CURL_ERROR_SIZE];
};

/* --- Opening ---------------------------------------------------------------------------------- */

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* The address to connect to: a server that listens everywhere is reached on this machine. */
static char *default_url(const struct config *config)
{
    const char *listen = config->listen;
    const bool is_ipv6 = strchr(listen, ':') != NULL;
    struct buffer out = {0};

    if (strcmp(listen, "0.0.0.0") == 0)
        listen = "127.0.0.1";
    else if (strcmp(listen, "::") == 0)
        listen = "::1";
    buffer_print(&out, is_ipv6 ? "http://[%s]:%lld" : "http://%s:%lld", listen,
                 (long long)config->port);
    return buffer_take(&out, NULL);
}

static char *given_url(const char *url)
{
    struct buffer out = {0};

    if (strstr(url, "://") == NULL)
        buffer_text(&out, "http://");
    buffer_text(&out, url);
    while (out.size > 0 && out.data[out.size - 1] == '/')
        out.data[--out.size] = '\0';
    return buffer_take(&out, NULL);
}

/* Takes the list and returns it one longer; NULL, and the list is gone, when memory is out. */
static struct curl_slist *add_header(struct curl_slist *list, const char *header)
{
    struct curl_slist *longer = curl_slist_append(list, header);
    if (longer == NULL)
        curl_slist_free_all(list);
    return longer;
}

static int make_headers(struct client *client, const char *api_key, struct error *err)
{
    struct buffer key = {0};

    buffer_print(&key, "Authorization: Bearer %s", api_key);
    if (buffer_ok(&key)) {
        /* "Expect:" empty: libcurl would ask before each body, and wait for the answer. */
        client->common = add_header(NULL, "Expect:");
        client->json = add_header(NULL, "Content-Type: application/json");
        if (client->common != NULL && *api_key != '\0')
            client->common = add_header(client->common, key.data);
        if (client->json != NULL && *api_key != '\0')
            client->json = add_header(client->json, key.data);
    }
    buffer_free(&key);
    if (client->common == NULL || client->json == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a request");
    return STATUS_OK;
}

int client_open(const struct config *config, const char *url, struct client **out,
                struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct client *client = calloc(1, sizeof *client);
    int status;

    if (client == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a client");
    pthread_once(&once, start_curl);
    client->curl = curl_easy_init();
    client->base = url != NULL ? given_url(url) : default_url(config);
    if (client->curl == NULL || client->base == NULL)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a client");
    else if (strncmp(client->base, "http://", 7) != 0 && strncmp(client->base, "https://", 8) != 0)
        status = error_set(err, STATUS_INVALID,
                           "'%s' is not an address of a server: http://HOST:PORT", client->base);
    else
        status = make_headers(client, config->api_key, err);
    if (status != STATUS_OK) {
        client_close(client);
        return status;
    }
    *out = client;
    return STATUS_OK;
}

void client_close(struct client *client)
{
    if (client == NULL)
        return;
    curl_easy_cleanup(client->curl);
    curl_slist_free_all(client->common);
    curl_slist_free_all(client->json);
    buffer_free(&client->answer);
    free(client->base);
    free(client);
}

const char *client_url(const struct client *client)
{
    return client->base;
}

char *client_escape(struct client *client, const char *text)
{
    return curl_easy_escape(client->curl, text, 0);
}

void client_escaped_free(char *text)
{
    curl_free(text);
}

/* --- Asking ----------------------------------------------------------------------------------- */

static size_t keep_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct client *client = context;

    if (client->answer.size + size * count > ANSWER_BYTES_MAX)
        return 0;
    buffer_append(&client->answer, bytes, size * count);
    return buffer_ok(&client->answer) ? size * count : 0;
}

/* A handle without anything of the request before, but its connection. */
static int prepare(struct client *client, const char *path, struct error *err)
{
    struct buffer url = {0};

    curl_easy_reset(client->curl);
    buffer_clear(&client->answer);
    client->answer.failed = false;
    client->reason[0] = '\0';
    buffer_print(&url, "%s%s", client->base, path);
    const bool ok =
        buffer_ok(&url) && curl_easy_setopt(client->curl, CURLOPT_URL, url.data) == CURLE_OK;
    buffer_free(&url);
    if (!ok)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a request");
    curl_easy_setopt(client->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(client->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(client->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, client->common);
    curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, client);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, client->reason);
    curl_easy_setopt(client->curl, CURLOPT_USERAGENT, "ocelli/" OCELLI_VERSION);
    return STATUS_OK;
}

/* response_error's table, backwards. */
static enum status status_of_http(long code)
{
    static const struct {
        long code;
        enum status status;
    } table[] = {
        {400, STATUS_INVALID},     {401, STATUS_DENIED},  {403, STATUS_DENIED},
        {404, STATUS_NOT_FOUND},   {409, STATUS_EXISTS},  {413, STATUS_TOO_LARGE},
        {415, STATUS_UNSUPPORTED}, {422, STATUS_CORRUPT}, {429, STATUS_BUSY},
        {503, STATUS_BUSY},        {504, STATUS_TIMEOUT}, {507, STATUS_NO_SPACE},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].code == code)
            return table[i].status;
    return STATUS_INTERNAL;
}

/* What a refusal says: the `detail` of application/problem+json, or else its number. */
static int refusal(const struct client *client, long code, struct error *err)
{
    const enum status status = status_of_http(code);
    const char *detail = NULL, *title = NULL;
    json_t *problem = NULL;

    if (client->answer.size > 0 &&
        json_read(client->answer.data, client->answer.size, &problem, NULL) == STATUS_OK &&
        json_is_object(problem)) {
        json_get_text(problem, "detail", false, &detail, NULL);
        json_get_text(problem, "title", false, &title, NULL);
    }
    if (code == 401)
        error_set(err, status,
                  "the server at %s wants an API key, or another one: set OCELLI_API_KEY",
                  client->base);
    else if (detail != NULL)
        error_set(err, status, "%s", detail);
    else
        error_set(err, status, "%s answered %ld%s%s", client->base, code, title != NULL ? " " : "",
                  title != NULL ? title : "");
    json_decref(problem);
    return status;
}

static int no_answer(const struct client *client, struct error *err)
{
    if (client->last == CURLE_COULDNT_CONNECT || client->last == CURLE_COULDNT_RESOLVE_HOST)
        return error_set(err, STATUS_UNAVAILABLE,
                         "no server answers at %s; start one with `ocelli serve`, or say where it "
                         "is with --url",
                         client->base);
    if (client->last == CURLE_OPERATION_TIMEDOUT)
        return error_set(err, STATUS_TIMEOUT, "%s did not answer in time", client->base);
    if (client->last == CURLE_URL_MALFORMAT)
        return error_set(err, STATUS_INVALID, "'%s' is not an address of a server", client->base);
    return error_set(err, STATUS_IO, "talking to %s failed: %s", client->base,
                     client->reason[0] != '\0' ? client->reason : curl_easy_strerror(client->last));
}

static int perform(struct client *client, struct error *err)
{
    long code = 0;

    client->last = curl_easy_perform(client->curl);
    if (client->last != CURLE_OK)
        return no_answer(client, err);
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &code);
    return code >= 200 && code < 300 ? STATUS_OK : refusal(client, code, err);
}

static int perform_json(struct client *client, json_t **out, struct error *err)
{
    const int status = perform(client, err);

    if (status != STATUS_OK)
        return status;
    if (client->answer.size == 0 ||
        json_read(client->answer.data, client->answer.size, out, NULL) != STATUS_OK)
        return error_set(err, STATUS_CORRUPT, "what answers at %s is not an ocelli server",
                         client->base);
    return STATUS_OK;
}

bool client_never_connected(const struct client *client)
{
    return client->last == CURLE_COULDNT_CONNECT || client->last == CURLE_COULDNT_RESOLVE_HOST ||
           client->last == CURLE_URL_MALFORMAT;
}

/* --- Requests --------------------------------------------------------------------------------- */

int client_get(struct client *client, const char *path, json_t **out, struct error *err)
{
    const int status = prepare(client, path, err);
    return status == STATUS_OK ? perform_json(client, out, err) : status;
}

int client_post(struct client *client, const char *path, const json_t *body, json_t **out,
                struct error *err)
{
    struct buffer text = {0};

    int status = prepare(client, path, err);
    if (status == STATUS_OK)
        status = json_write(body, &text, err);
    if (status == STATUS_OK) {
        curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, client->json);
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, text.data);
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)text.size);
        status = perform_json(client, out, err);
    }
    buffer_free(&text);
    return status;
}

static bool add_field(curl_mime *form, const char *name, const char *text)
{
    if (text == NULL || *text == '\0')
        return true;
    curl_mimepart *part = curl_mime_addpart(form);
    return part != NULL && curl_mime_name(part, name) == CURLE_OK &&
           curl_mime_data(part, text, CURL_ZERO_TERMINATED) == CURLE_OK;
}

static bool add_file(curl_mime *form, const struct client_image *image)
{
    curl_mimepart *part = curl_mime_addpart(form);
    return part != NULL && curl_mime_name(part, "file") == CURLE_OK &&
           curl_mime_filename(part, image->name) == CURLE_OK &&
           curl_mime_data(part, (const char *)image->bytes, image->size) == CURLE_OK;
}

static int64_t retry_after(CURL *curl)
{
    curl_off_t seconds = 0;
    curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &seconds);
    return seconds > 0 ? (int64_t)seconds : 1;
}

int client_upload(struct client *client, const struct client_image *image, int64_t *retry_after_s,
                  struct error *err)
{
    int status = prepare(client, "/upload", err);
    if (status != STATUS_OK)
        return status;
    curl_mime *form = curl_mime_init(client->curl);
    /* The fields first: the server may start on the file as soon as it comes. */
    if (form == NULL || !add_field(form, "source", image->source) ||
        !add_field(form, "label", image->label) || !add_file(form, image)) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a request");
    } else {
        curl_easy_setopt(client->curl, CURLOPT_MIMEPOST, form);
        status = perform(client, err);
        *retry_after_s = retry_after(client->curl);
    }
    curl_easy_setopt(client->curl, CURLOPT_MIMEPOST, NULL);
    curl_mime_free(form);
    return status;
}
