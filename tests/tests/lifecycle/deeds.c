/* A plugin that does on request what a plugin should not, without a rule of the boundary broken: what becomes of its process is what
 * the tests look at. A deed is named by the path of a request, or by `open` in the configuration.
 *
 * Compiled with -DVERSION="...", and SPINS_WHEN_LOADED, ABORTS (when it is greeted), UNDESCRIBED, SICK, or MUTE (about its health). */
#define _GNU_SOURCE
#define STELE_BUILDING_PLUGIN
#include "stele_plugin.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "1"
#endif

static stele_peer host;

#ifdef SPINS_WHEN_LOADED
__attribute__((constructor)) static void spin_when_loaded(void) {
    for (volatile unsigned turns = 0;; turns++) continue;
}
#endif

static void give_back(void *owner) { free(owner); }

static void post_frame(uint32_t kind, uint64_t id, const char *payload, const char *body) {
    stele_frame frame = {0};
    frame.size = sizeof frame;
    frame.kind = kind;
    frame.id = id;
    frame.payload.ptr = (const uint8_t *)payload;
    frame.payload.len = strlen(payload);
    if (body != NULL) {
        char *copy = strdup(body);
        frame.body = (stele_buf){(const uint8_t *)copy, strlen(copy), copy, give_back};
    }
    host.post(host.ctx, &frame);
}

/* The payloads of these are constants: nothing has to outlive the call. */
static void answer(uint64_t id, const char *body) { post_frame(STELE_REPLY, id, "{\"status\":200}", body); }

static int has(const stele_frame *frame, const char *text) {
    return frame->payload.len > 0 && memmem(frame->payload.ptr, frame->payload.len, text, strlen(text)) != NULL;
}

static int is(const stele_frame *frame, const char *op) {
    return frame->op.len == strlen(op) && memcmp(frame->op.ptr, op, frame->op.len) == 0;
}

/* ---- what takes its time, or all there is, on a thread of its own ------------------------------------------------ */

static void *leak(void *nothing) {
    (void)nothing;
    for (;;) {
        char *more = malloc(1 << 20);
        if (more == NULL) pause();
        else memset(more, 1, 1 << 20);
    }
    return NULL;
}

static void *spin(void *nothing) {
    (void)nothing;
    for (volatile unsigned turns = 0;; turns++) continue;
    return NULL;
}

static void *answer_late(void *id) {
    usleep(150000);
    answer((uint64_t)(uintptr_t)id, VERSION);
    return NULL;
}

static void begin(void *(*work)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, argument) == 0) pthread_detach(thread);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static void handle(const stele_frame *frame) {
    char text[32] = VERSION;
    if (has(frame, "/slow")) {
        begin(answer_late, (void *)(uintptr_t)frame->id);
        return;
    }
    if (has(frame, "/leak")) begin(leak, NULL);
    if (has(frame, "/spin"))
        for (int threads = 0; threads < 4; threads++) begin(spin, NULL);
    if (has(frame, "/abort")) abort();
    if (has(frame, "/hang"))
        for (;;) pause();
    if (has(frame, "/files")) {
        int opened = 0;
        while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) opened++;
        snprintf(text, sizeof text, "%d", opened);
    }
    if (has(frame, "/fork")) {
        pid_t child = fork();
        if (child == 0)
            for (;;) pause();
        snprintf(text, sizeof text, "%d", (int)child);
    }
    answer(frame->id, text);
}

static void call(const stele_frame *frame) {
    if (is(frame, "http.handle")) {
        handle(frame);
    } else if (is(frame, "health")) {
#if defined MUTE
        return;
#elif defined SICK
        post_frame(STELE_REPLY, frame->id, "{\"ok\":false,\"findings\":[\"it has a cold\"]}", NULL);
#else
        post_frame(STELE_REPLY, frame->id, "{\"ok\":true}", NULL);
#endif
    } else if (is(frame, "describe")) {
#ifdef UNDESCRIBED
        post_frame(STELE_ERROR, frame->id, "{\"code\":\"internal\",\"message\":\"it does not know what it is\"}", NULL);
#else
        post_frame(STELE_REPLY, frame->id,
                   "{\"name\":\"deeds\",\"version\":\"" VERSION "\",\"summary\":\"does as it is told\","
                   "\"operations\":[\"describe\",\"health\",\"http.handle\"],\"default_listen\":\"127.0.0.1:9\"}",
                   NULL);
#endif
    } else {
        post_frame(STELE_ERROR, frame->id, "{\"code\":\"unsupported\",\"message\":\"not this one\"}", NULL);
    }
}

static void hello(const stele_frame *frame) {
#ifdef ABORTS
    abort();
#endif
    if (has(frame, "\"open\":\"spin\"")) spin(NULL);
    if (has(frame, "\"open\":\"fork and spin\"")) {
        if (fork() > 0) spin(NULL);
        for (;;) pause();
    }
    if (has(frame, "\"open\":\"refuse\"")) {
        post_frame(STELE_ERROR, 0,
                   "{\"code\":\"invalid\",\"message\":\"unusable configuration\","
                   "\"mistakes\":[{\"key\":\"open\",\"message\":\"cannot be refuse\"}]}",
                   NULL);
        return;
    }
    post_frame(STELE_HELLO, 0, "{\"abi_minor\":4,\"name\":\"deeds\",\"version\":\"" VERSION "\"}", NULL);
}

static void post(void *ctx, stele_frame *frame) {
    (void)ctx;
    if (frame->kind == STELE_HELLO) hello(frame);
    if (frame->kind == STELE_CALL) call(frame);
    if (frame->kind == STELE_GOODBYE) post_frame(STELE_GOODBYE, 0, "", NULL);
    if (frame->payload.release) frame->payload.release(frame->payload.owner);
    if (frame->body.release) frame->body.release(frame->body.owner);
}

static int32_t open_instance(const stele_peer *peer, stele_peer *plugin) {
    host = *peer;
    plugin->size = sizeof *plugin;
    plugin->post = post;
    return STELE_OPEN_OK;
}

static void close_instance(void *ctx) { (void)ctx; }

const stele_descriptor *stele_plugin_v1(void) {
    static const stele_descriptor descriptor = {
        STELE_MAGIC, STELE_ABI, STELE_DESCRIPTOR_JSON, sizeof descriptor, "deeds", VERSION, open_instance, close_instance,
    };
    return &descriptor;
}
