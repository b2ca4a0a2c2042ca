/* The smallest Stele plugin, in C: it answers every HTTP request with what it was sent.
 *
 * It shows all of the boundary that a plugin in C needs: the descriptor, open and close, hello, calls and their answers,
 * who owns which bytes, and payloads as JSON. It has no threads and next to no state: each call is answered from within
 * `post`, which the ABI allows because neither side holds a lock while it calls the other.
 *
 * Ownership, in three rules:
 *   1. payload and body of a frame that is posted to us are ours: each is released once, or moved on;
 *   2. what we post to the host is the host's, even the parts we were just given;
 *   3. `op` is borrowed: it is gone when `post` returns.
 */
#define STELE_BUILDING_PLUGIN
#include "stele_plugin.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NAME "echo-c"
#define VERSION "0.1.0"
#define MAX_FRAME 67108864 /* bytes of payload and body it takes at once: 64 MiB */
#define MAX_DEPTH 64       /* maps and lists within each other */

/* A number as JSON. */
#define JSON_OF(number) JSON_OF_(number)
#define JSON_OF_(number) #number

/* ---- a JSON text that grows ------------------------------------------------------------------------------------- */

typedef struct {
    char *bytes;
    size_t len, capacity;
    int failed; /* out of memory: the text is unusable */
} text;

static void put(text *to, const char *bytes, size_t len) {
    if (to->failed || len == 0) return;
    if (to->capacity - to->len < len) {
        size_t capacity = to->capacity ? to->capacity : 256;
        while (capacity - to->len < len) capacity *= 2;
        char *grown = realloc(to->bytes, capacity);
        if (grown == NULL) {
            to->failed = 1;
            return;
        }
        to->bytes = grown;
        to->capacity = capacity;
    }
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
}

/* JSON that is written as it stands. */
static void put_json(text *to, const char *json) { put(to, json, strlen(json)); }

/* A JSON string of any UTF-8 bytes. */
static void put_string(text *to, const char *bytes, size_t len) {
    static const char hex[] = "0123456789abcdef";
    put(to, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte == '"' || byte == '\\') {
            char escaped[2] = {'\\', (char)byte};
            put(to, escaped, sizeof escaped);
        } else if (byte < 0x20) {
            char escaped[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
            put(to, escaped, sizeof escaped);
        } else {
            put(to, bytes + i, 1);
        }
    }
    put(to, "\"", 1);
}

/* ---- is it JSON? ------------------------------------------------------------------------------------------------ */

typedef struct {
    const uint8_t *at, *end;
} cursor;

static int next_is(cursor *json, char expected) {
    while (json->at < json->end && memchr(" \t\r\n", *json->at, 4) != NULL) json->at++;
    if (json->at == json->end || *json->at != (uint8_t)expected) return 0;
    json->at++;
    return 1;
}

static int skip_string(cursor *json) {
    if (!next_is(json, '"')) return 0;
    while (json->at < json->end) {
        uint8_t byte = *json->at++;
        if (byte == '"') return 1;
        if (byte < 0x20) return 0;
        if (byte == '\\' && json->at < json->end) json->at++;
    }
    return 0;
}

/* A number, true, false or null. What exactly it says is of no interest to an echo. */
static int skip_word(cursor *json) {
    const uint8_t *start = json->at;
    while (json->at < json->end && *json->at != 0 && strchr("+-.0123456789Eaeflnrstu", *json->at) != NULL) json->at++;
    return json->at > start;
}

static int skip_value(cursor *json, int depth) {
    if (depth > MAX_DEPTH) return 0;
    if (next_is(json, '{')) {
        if (next_is(json, '}')) return 1;
        do {
            if (!skip_string(json) || !next_is(json, ':') || !skip_value(json, depth + 1)) return 0;
        } while (next_is(json, ','));
        return next_is(json, '}');
    }
    if (next_is(json, '[')) {
        if (next_is(json, ']')) return 1;
        do {
            if (!skip_value(json, depth + 1)) return 0;
        } while (next_is(json, ','));
        return next_is(json, ']');
    }
    return skip_string(json) || skip_word(json);
}

/* A request is one map; no bytes at all mean an empty one. */
static int is_request(const stele_buf *payload) {
    if (payload->len == 0) return 1; /* its pointer may be null */
    cursor json = {payload->ptr, payload->ptr + payload->len};
    if (!next_is(&json, '{')) return 0;
    json.at--;
    if (!skip_value(&json, 0)) return 0;
    next_is(&json, ' '); /* passes over the rest of the white space */
    return json.at == json.end;
}

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

static const stele_buf no_bytes = {NULL, 0, NULL, NULL};

static void release(stele_buf *buffer) {
    if (buffer->release != NULL) buffer->release(buffer->owner);
    *buffer = no_bytes;
}

/* Moves a buffer out of where it was, so that nobody releases it twice. */
static stele_buf move(stele_buf *from) {
    stele_buf moved = *from;
    *from = no_bytes;
    return moved;
}

/* Gives the text away: the host frees it. */
static stele_buf move_text(text *from) {
    static const char lost[] = "{\"code\":\"internal\",\"message\":\"out of memory\"}";
    stele_buf moved = {(const uint8_t *)from->bytes, from->len, from->bytes, free}; /* free(NULL) is fine */
    if (from->failed) {
        free(from->bytes);
        moved = (stele_buf){(const uint8_t *)lost, sizeof lost - 1, NULL, NULL};
    }
    return moved;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Posts an answer to the host and gives it the text and the body. */
static void answer(const stele_peer *host, uint32_t kind, uint64_t id, text *json, stele_buf body) {
    stele_frame frame = {0};
    frame.size = sizeof frame;
    frame.kind = json->failed && id != 0 ? STELE_ERROR : kind;
    frame.id = id;
    frame.flags = STELE_FRAME_JSON;
    frame.payload = move_text(json);
    frame.body = body;
    host->post(host->ctx, &frame);
}

static void fail(const stele_peer *host, uint64_t id, const char *code, const char *message, stele_slice about) {
    text said = {0}, json = {0};
    put_json(&said, message);
    put(&said, (const char *)about.ptr, about.len);
    put_json(&json, "{\"code\":\"");
    put_json(&json, code);
    put_json(&json, "\",\"message\":");
    put_string(&json, said.bytes, said.failed ? 0 : said.len);
    put_json(&json, "}");
    free(said.bytes);
    answer(host, STELE_ERROR, id, &json, no_bytes);
}

static int is(stele_slice op, const char *name) {
    return op.len == strlen(name) && memcmp(op.ptr, name, op.len) == 0;
}

static void call(const stele_peer *host, stele_frame *frame) {
    static const stele_slice nothing = {NULL, 0};
    text json = {0};
    if (frame->payload.len > MAX_FRAME || frame->body.len > MAX_FRAME - frame->payload.len) {
        fail(host, frame->id, "too_large", "a frame may have 64 MiB", nothing);
    } else if (!is_request(&frame->payload)) {
        fail(host, frame->id, "invalid", "the request is not a JSON map", nothing);
    } else if (is(frame->op, "describe")) {
        put_json(&json, "{\"name\":\"" NAME "\",\"version\":\"" VERSION "\",\"summary\":");
        put_json(&json, "\"answers every HTTP request with what it was sent\",");
        put_json(&json, "\"operations\":[\"describe\",\"health\",\"http.handle\"]}");
        answer(host, STELE_REPLY, frame->id, &json, no_bytes);
    } else if (is(frame->op, "health")) {
        put_json(&json, "{\"ok\":true,\"findings\":[]}");
        answer(host, STELE_REPLY, frame->id, &json, no_bytes);
    } else if (is(frame->op, "http.handle")) {
        /* The request's body goes back as it came, without a copy; a request without one is answered by itself, as JSON. */
        int has_body = frame->body.len > 0;
        put_json(&json, "{\"status\":200,\"headers\":[[\"content-type\",");
        put_json(&json, has_body ? "\"application/octet-stream\"]]}" : "\"application/json\"]]}");
        answer(host, STELE_REPLY, frame->id, &json, move(has_body ? &frame->body : &frame->payload));
    } else {
        fail(host, frame->id, "unsupported", NAME " does not know the operation ", frame->op);
    }
}

/* ---- the boundary ----------------------------------------------------------------------------------------------- */

typedef struct {
    stele_peer host;
    atomic_flag greeted; /* frames may come on several threads at once */
} instance;

static void post(void *ctx, stele_frame *frame) {
    instance *self = ctx;
    text json = {0};
    switch (frame->kind) {
    case STELE_HELLO: /* carries the configuration, of which an echo needs nothing; a second one is against the rules */
        if (atomic_flag_test_and_set(&self->greeted)) break;
        put_json(&json, "{\"name\":\"" NAME "\",\"version\":\"" VERSION "\",\"limits\":{\"max_frame\":");
        put_json(&json, JSON_OF(MAX_FRAME) ",\"max_calls\":256,\"credit\":8}}");
        answer(&self->host, STELE_HELLO, 0, &json, no_bytes);
        break;
    case STELE_CALL:
        call(&self->host, frame);
        break;
    case STELE_GOODBYE: /* every call is answered already, so that there is nothing to wait for */
        answer(&self->host, STELE_GOODBYE, 0, &json, no_bytes);
        break;
    default: /* cancel and credit have nothing to act on here; what is unknown is ignored */
        break;
    }
    release(&frame->payload);
    release(&frame->body);
}

static int32_t open(const stele_peer *host, stele_peer *plugin) {
    if (host->size < sizeof *host || plugin->size < sizeof *plugin) return STELE_OPEN_INVALID;
    instance *self = malloc(sizeof *self);
    if (self == NULL) return STELE_OPEN_FAILED;
    self->host = *host;
    atomic_flag_clear(&self->greeted);
    plugin->size = sizeof *plugin;
    plugin->ctx = self;
    plugin->post = post;
    return STELE_OPEN_OK;
}

static void close(void *ctx) { free(ctx); }

const stele_descriptor *stele_plugin_v1(void) {
    static const stele_descriptor descriptor = {
        STELE_MAGIC, STELE_ABI, STELE_DESCRIPTOR_JSON, sizeof descriptor, NAME, VERSION, open, close,
    };
    return &descriptor;
}
