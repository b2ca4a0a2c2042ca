/* The smallest Stele plugin, in C: it answers every HTTP request with what it was sent.
 *
 * It shows all of the boundary that a plugin in C needs: the descriptor, open and close, hello, calls and their answers,
 * who owns which bytes, and payloads as JSON. It has no threads and no state: each call is answered from within `post`,
 * which the ABI allows because neither side holds a lock while it calls the other.
 *
 * Ownership, in three rules:
 *   1. payload and body of a frame that is posted to us are ours: each is released once, or moved on;
 *   2. what we post to the host is the host's, even the parts we were just given;
 *   3. `op` is borrowed: it is gone when `post` returns.
 */
#define STELE_BUILDING_PLUGIN
#include "stele_plugin.h"

#include <stdlib.h>
#include <string.h>

#define NAME "echo-c"
#define VERSION "0.1.0"

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

static int is(stele_slice op, const char *name) {
    return op.len == strlen(name) && memcmp(op.ptr, name, op.len) == 0;
}

static void call(const stele_peer *host, stele_frame *frame) {
    text json = {0};
    if (is(frame->op, "describe")) {
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
        text message = {0};
        put_json(&message, NAME " does not know the operation ");
        put(&message, (const char *)frame->op.ptr, frame->op.len);
        put_json(&json, "{\"code\":\"unsupported\",\"message\":");
        put_string(&json, message.bytes, message.failed ? 0 : message.len);
        put_json(&json, "}");
        free(message.bytes);
        answer(host, STELE_ERROR, frame->id, &json, no_bytes);
    }
}

/* ---- the boundary ----------------------------------------------------------------------------------------------- */

static void post(void *ctx, stele_frame *frame) {
    const stele_peer *host = ctx;
    text json = {0};
    switch (frame->kind) {
    case STELE_HELLO: /* carries the configuration, of which an echo needs nothing */
        put_json(&json, "{\"name\":\"" NAME "\",\"version\":\"" VERSION "\"}");
        answer(host, STELE_HELLO, 0, &json, no_bytes);
        break;
    case STELE_CALL:
        call(host, frame);
        break;
    case STELE_GOODBYE: /* every call is answered already, so that there is nothing to wait for */
        answer(host, STELE_GOODBYE, 0, &json, no_bytes);
        break;
    default: /* cancel and credit have nothing to act on here; what is unknown is ignored */
        break;
    }
    release(&frame->payload);
    release(&frame->body);
}

static int32_t open(const stele_peer *host, stele_peer *plugin) {
    if (host->size < sizeof *host || plugin->size < sizeof *plugin) return STELE_OPEN_INVALID;
    stele_peer *copy = malloc(sizeof *copy);
    if (copy == NULL) return STELE_OPEN_FAILED;
    *copy = *host;
    plugin->size = sizeof *plugin;
    plugin->ctx = copy;
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
