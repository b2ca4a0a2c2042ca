/* A plugin whose memory is not in order, on request: whatever watches its process has to say so. The deed is named by the path. */
#define STELE_BUILDING_PLUGIN
#include "stele_plugin.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static stele_peer host;

static void send_frame(uint32_t kind, uint64_t id, const char *payload) {
    stele_frame frame = {0};
    frame.size = sizeof frame;
    frame.kind = kind;
    frame.id = id;
    frame.payload.ptr = (const uint8_t *)payload;
    frame.payload.len = strlen(payload);
    host.post(host.ctx, &frame);
}

static int asks_for(const stele_frame *frame, const char *deed) {
    size_t len = strlen(deed);
    for (size_t i = 0; i + len <= frame->payload.len; i++)
        if (memcmp(frame->payload.ptr + i, deed, len) == 0) return 1;
    return 0;
}

/* Volatile, so that the compiler neither sees what is done nor leaves it out. */
static char *volatile memory;
static volatile int number = INT_MAX;

static void call(const stele_frame *frame) {
    memory = malloc(8);
    if (asks_for(frame, "/freed")) {
        free(memory);
        number = memory[0] != 0 ? 1 : 2;
    } else if (asks_for(frame, "/beyond")) {
        number = memory[8] != 0 ? 1 : 2;
        free(memory);
    } else if (asks_for(frame, "/leak")) {
        memset(memory, 1, 8);
    } else {
        free(memory);
    }
    if (asks_for(frame, "/overflow")) number = number + 1;
    memory = NULL;
    send_frame(STELE_REPLY, frame->id, "{\"status\":200}");
}

static void post(void *ctx, stele_frame *frame) {
    (void)ctx;
    if (frame->kind == STELE_HELLO) send_frame(STELE_HELLO, 0, "{\"name\":\"unsound\",\"version\":\"0\"}");
    if (frame->kind == STELE_CALL) call(frame);
    if (frame->kind == STELE_GOODBYE) send_frame(STELE_GOODBYE, 0, "");
    if (frame->payload.release) frame->payload.release(frame->payload.owner);
    if (frame->body.release) frame->body.release(frame->body.owner);
}

static int32_t unsound_open(const stele_peer *peer, stele_peer *plugin) {
    host = *peer;
    plugin->size = sizeof *plugin;
    plugin->post = post;
    return STELE_OPEN_OK;
}

static void unsound_close(void *ctx) { (void)ctx; }

const stele_descriptor *stele_plugin_v1(void) {
    static const stele_descriptor descriptor = {
        STELE_MAGIC, STELE_ABI, STELE_DESCRIPTOR_JSON, sizeof descriptor, "unsound", "0", unsound_open, unsound_close,
    };
    return &descriptor;
}
