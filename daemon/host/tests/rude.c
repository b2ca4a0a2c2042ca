/* A plugin that keeps no rule of the boundary, on request: the host must survive it. The deed is named by the path. */
#define _POSIX_C_SOURCE 200809L
#define STELE_BUILDING_PLUGIN
#include "stele_plugin.h"

#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

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

static void call(const stele_frame *frame) {
    const char *reply = "{\"status\":200}";
    if (asks_for(frame, "/flood"))
        for (int i = 0; i < 1000; i++) send_frame(STELE_ITEM, frame->id, "{\"resume\":\"x\"}");
    if (asks_for(frame, "/strangers")) {
        send_frame(77, frame->id, "{}");
        send_frame(STELE_REPLY, 1234567, "{}");
        send_frame(STELE_ITEM, 1234567, "{}");
        send_frame(STELE_CREDIT, 1234567, "{}");
        send_frame(STELE_CREDIT, frame->id, "no JSON at all");
        send_frame(STELE_CANCEL, 1234567, "");
        send_frame(STELE_HELLO, 0, "{}");
        send_frame(STELE_NOTIFY, 0, "no JSON at all");
        host.post(host.ctx, NULL);
    }
    if (asks_for(frame, "/garbage")) reply = "no JSON at all";
    if (asks_for(frame, "/stdin")) {
        char byte;
        reply = read(0, &byte, 1) == 0 ? "{\"status\":204}" : "{\"status\":500}";
    }
    if (asks_for(frame, "/hang"))
        for (;;) pause();
    if (asks_for(frame, "/scribble"))
        for (int fd = 3; fd < 64; fd++)
            if (write(fd, "this is no frame, and it goes wherever it may", 45) < 0) continue;
    if (asks_for(frame, "/close"))
        for (int fd = 3; fd < 64; fd++) close(fd);
    if (asks_for(frame, "/crash")) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    send_frame(STELE_REPLY, frame->id, reply);
    if (asks_for(frame, "/twice")) send_frame(STELE_REPLY, frame->id, reply);
}

static void post(void *ctx, stele_frame *frame) {
    (void)ctx;
    if (frame->kind == STELE_HELLO) send_frame(STELE_HELLO, 0, "{\"name\":\"rude\",\"version\":\"0\"}");
    if (frame->kind == STELE_CALL) call(frame);
    /* It does not even answer goodbye. */
    if (frame->payload.release) frame->payload.release(frame->payload.owner);
    if (frame->body.release) frame->body.release(frame->body.owner);
}

static int32_t rude_open(const stele_peer *peer, stele_peer *plugin) {
    host = *peer;
    plugin->size = sizeof *plugin;
    plugin->post = post;
    /* Before the host has spoken a plugin has nothing to say. */
    send_frame(STELE_NOTIFY, 0, "{}");
    return STELE_OPEN_OK;
}

static void rude_close(void *ctx) { (void)ctx; }

const stele_descriptor *stele_plugin_v1(void) {
    static const stele_descriptor descriptor = {
        STELE_MAGIC, STELE_ABI, STELE_DESCRIPTOR_JSON, sizeof descriptor, "rude", "0", rude_open, rude_close,
    };
    return &descriptor;
}
