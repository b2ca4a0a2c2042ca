/* A zoo: plugins that keep no rule of the boundary. The daemon must survive each of them, and say which it was.
 *
 * This library is all of them. What it does is named where there is a name in time:
 *   by the name of its file, such as zoo-null.so, what is wrong before an instance is open;
 *   by the setting `deed` of the instance, what is wrong before its first call;
 *   by the path of a request, or the handle of a file, everything else.
 * What nobody has named it does right, so that it can be seen to live on.
 */
#define _GNU_SOURCE
#define STELE_BUILDING_PLUGIN
#include "stele_plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORD 64          /* bytes of a name, with its NUL */
#define LARGE (2u << 20) /* bytes of a body that is more than anybody takes, if that is 1 MiB */
#define LEAK (256u << 20)
#define THREADS 8
#define SPINNERS 4
#define FLOOD 1000

typedef struct {
    stele_peer host;
    char deed[WORD];        /* of the settings */
    atomic_int stays;       /* it does not answer goodbye */
    atomic_int talks_on;    /* it has more to say after its goodbye */
    atomic_int crashes;     /* when it is closed */
    atomic_int hangs;       /* when it is closed */
    atomic_int has_threads; /* which may look at this for ever */
} animal;

static const stele_buf no_bytes = {NULL, 0, NULL, NULL};
static uint8_t large[LARGE];

/* ---- how it speaks ---------------------------------------------------------------------------------------------- */

static void send_frame(const animal *self, uint32_t kind, uint64_t id, const char *op, stele_buf payload, stele_buf body) {
    stele_frame frame = {0};
    frame.size = sizeof frame;
    frame.kind = kind;
    frame.id = id;
    frame.op.ptr = (const uint8_t *)op;
    frame.op.len = strlen(op);
    frame.payload = payload;
    frame.body = body;
    self->host.post(self->host.ctx, &frame);
}

/* A text that stays where it is. */
static stele_buf constant(const char *text) {
    stele_buf bytes = {(const uint8_t *)text, strlen(text), NULL, NULL};
    return bytes;
}

static void say(const animal *self, uint32_t kind, uint64_t id, const char *payload) {
    send_frame(self, kind, id, "", constant(payload), no_bytes);
}

static void reply(const animal *self, uint64_t id, const char *payload) { say(self, STELE_REPLY, id, payload); }

static void notify(const animal *self, const char *payload) {
    send_frame(self, STELE_NOTIFY, 0, "log", constant(payload), no_bytes);
}

/* What the JSON of the host has behind this key; empty when it has none. */
static void text_of(const stele_buf *json, const char *key, char out[WORD]) {
    char pattern[WORD];
    size_t len = (size_t)snprintf(pattern, sizeof pattern, "\"%s\":\"", key), n = 0;
    const char *at = json->len ? memmem(json->ptr, json->len, pattern, len) : NULL;
    if (at != NULL)
        for (at += len; at < (const char *)json->ptr + json->len && *at != '"' && n + 1 < WORD; at++) out[n++] = *at;
    out[n] = 0;
}

static void begin(animal *self, void *(*work)(void *)) {
    pthread_t thread;
    atomic_store(&self->has_threads, 1);
    if (pthread_create(&thread, NULL, work, self) == 0) pthread_detach(thread);
}

/* ---- deeds of a call: each says whether an answer as it should be follows --------------------------------------- */

static int answers_twice(animal *self, uint64_t id) {
    reply(self, id, "{\"status\":200}");
    return 1;
}

static int never_answers(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    return 0;
}

static int answers_garbage(animal *self, uint64_t id) {
    reply(self, id, "no JSON at all");
    return 0;
}

static int answers_too_much(animal *self, uint64_t id) {
    stele_buf body = {large, sizeof large, NULL, NULL};
    send_frame(self, STELE_REPLY, id, "", constant("{\"status\":200}"), body);
    return 0;
}

/* No header can say this length, and nobody can read it. */
static int answers_beyond_measure(animal *self, uint64_t id) {
    stele_buf body = {large, (size_t)5 << 30, NULL, NULL};
    send_frame(self, STELE_REPLY, id, "", constant("{\"status\":200}"), body);
    return 0;
}

/* Nobody has asked for a single one. */
static int ignores_credit(animal *self, uint64_t id) {
    for (int i = 0; i < FLOOD; i++) say(self, STELE_ITEM, id, "{\"resume\":\"x\"}");
    return 1;
}

static int says_strange_things(animal *self, uint64_t id) {
    say(self, 77, id, "{}");
    reply(self, 1234567, "{}");
    say(self, STELE_ITEM, 1234567, "{}");
    say(self, STELE_CREDIT, 1234567, "{}");
    say(self, STELE_CREDIT, id, "no JSON at all");
    say(self, STELE_CANCEL, 1234567, "");
    say(self, STELE_HELLO, 0, "{}");
    send_frame(self, STELE_NOTIFY, 0, "", constant("no JSON at all"), no_bytes);
    self->host.post(self->host.ctx, NULL);
    return 1;
}

typedef struct {
    animal *self;
    uint64_t id;
} errand;

static void *post_much(void *context) {
    errand *todo = context;
    for (int i = 0; i < FLOOD; i++) {
        reply(todo->self, todo->id, "{\"status\":200}");
        send_frame(todo->self, STELE_NOTIFY, 0, "metric", constant("{\"name\":\"x\",\"kind\":\"counter\"}"), no_bytes);
    }
    return NULL;
}

/* All of them answer the one call. */
static int posts_from_many_threads(animal *self, uint64_t id) {
    pthread_t threads[THREADS];
    errand todo = {self, id};
    int begun = 0;
    while (begun < THREADS && pthread_create(&threads[begun], NULL, post_much, &todo) == 0) begun++;
    while (begun > 0) pthread_join(threads[--begun], NULL);
    return 0;
}

/* Nobody has asked for any of it. */
static void *babble_for_ever(void *self) {
    static const uint32_t kinds[] = {STELE_REPLY, STELE_ITEM, STELE_ERROR, STELE_CANCEL, STELE_CREDIT, 77};
    for (size_t i = 0;; i++) say(self, kinds[i % (sizeof kinds / sizeof *kinds)], 1234567, "{}");
    return NULL;
}

static int babbles(animal *self, uint64_t id) {
    (void)id;
    begin(self, babble_for_ever);
    return 1;
}

static void *call_for_ever(void *self) {
    for (uint64_t id = 1 << 20;; id++) send_frame(self, STELE_CALL, id, "nothing.at.all", constant("{}"), no_bytes);
    return NULL;
}

/* Many more calls than it may make, and it takes none of the answers. */
static int begs_and_takes_nothing(animal *self, uint64_t id) {
    (void)id;
    begin(self, call_for_ever);
    for (;;) pause();
    return 0;
}

static int talks_on_after_goodbye(animal *self, uint64_t id) {
    (void)id;
    atomic_store(&self->talks_on, 1);
    return 1;
}

static int crashes_when_closed(animal *self, uint64_t id) {
    (void)id;
    atomic_store(&self->crashes, 1);
    return 1;
}

static int hangs_when_closed(animal *self, uint64_t id) {
    (void)id;
    atomic_store(&self->hangs, 1);
    return 1;
}

/* And owes an answer. */
static int says_goodbye_itself(animal *self, uint64_t id) {
    (void)id;
    say(self, STELE_GOODBYE, 0, "");
    return 0;
}

static int stays_after_goodbye(animal *self, uint64_t id) {
    (void)id;
    atomic_store(&self->stays, 1);
    return 1;
}

static void *log_for_ever(void *self) {
    for (;;) notify(self, "{\"level\":\"info\",\"message\":\"nothing to tell\"}");
    return NULL;
}

static int floods_the_log(animal *self, uint64_t id) {
    (void)id;
    begin(self, log_for_ever);
    return 1;
}

static void *print_for_ever(void *self) {
    (void)self;
    while (puts("nothing to print") >= 0) continue;
    return NULL;
}

static int floods_stdout(animal *self, uint64_t id) {
    (void)id;
    begin(self, print_for_ever);
    return 1;
}

static int prints(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    printf("words on stdout\n");
    fflush(stdout);
    return 1;
}

static int reads_stdin(animal *self, uint64_t id) {
    char byte;
    reply(self, id, read(0, &byte, 1) == 0 ? "{\"status\":204}" : "{\"status\":500}");
    return 0;
}

/* It has whatever this process has, and does not end with it by itself. */
static int forks(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    if (fork() == 0)
        for (;;) pause();
    return 1;
}

static int exits(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    exit(0);
}

static int aborts(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    abort();
}

static int crashes(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 0;
}

static int hangs(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    for (;;) pause();
    return 0;
}

static void *beat_for_ever(void *self) {
    for (;;) {
        send_frame(self, STELE_NOTIFY, 0, "metric", constant("{\"name\":\"beats\",\"kind\":\"counter\"}"), no_bytes);
        usleep(10000);
    }
    return NULL;
}

/* It has its heart in another thread. */
static int beats_and_hangs(animal *self, uint64_t id) {
    begin(self, beat_for_ever);
    return hangs(self, id);
}

static void *spin_for_ever(void *self) {
    volatile unsigned long turns = 0;
    (void)self;
    for (;;) turns++;
    return NULL;
}

/* It does nothing else. */
static int spins(animal *self, uint64_t id) {
    (void)id;
    spin_for_ever(self);
    return 0;
}

/* It answers all the same. More than one, so that it is seen on a machine that is busy anyway. */
static int spins_beside(animal *self, uint64_t id) {
    (void)id;
    for (int i = 0; i < SPINNERS; i++) begin(self, spin_for_ever);
    return 1;
}

/* Never given back, and really there. What cannot be had ends it, as it does most programs. */
static int leaks(animal *self, uint64_t id) {
    uint8_t *lost = malloc(LEAK);
    (void)self;
    (void)id;
    if (lost == NULL) {
        fprintf(stderr, "out of memory\n");
        abort();
    }
    for (size_t i = 0; i < LEAK; i += 4096) ((volatile uint8_t *)lost)[i] = 1;
    return 1;
}

static int scribbles(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    for (int fd = 3; fd < 64; fd++)
        if (write(fd, "this is no frame, and it goes wherever it may", 45) < 0) continue;
    return 1;
}

static int closes_everything(animal *self, uint64_t id) {
    (void)self;
    (void)id;
    for (int fd = 3; fd < 64; fd++) close(fd);
    return 1;
}

static const struct {
    const char *path;
    int (*does)(animal *self, uint64_t id);
} deeds[] = {
    {"/twice", answers_twice},
    {"/never", never_answers},
    {"/garbage", answers_garbage},
    {"/oversize", answers_too_much},
    {"/beyond", answers_beyond_measure},
    {"/flood", ignores_credit},
    {"/strangers", says_strange_things},
    {"/threads", posts_from_many_threads},
    {"/babble", babbles},
    {"/beg", begs_and_takes_nothing},
    {"/goodbye", talks_on_after_goodbye},
    {"/stay", stays_after_goodbye},
    {"/leave", says_goodbye_itself},
    {"/crash-closing", crashes_when_closed},
    {"/hang-closing", hangs_when_closed},
    {"/log", floods_the_log},
    {"/print", floods_stdout},
    {"/say", prints},
    {"/stdin", reads_stdin},
    {"/fork", forks},
    {"/exit", exits},
    {"/abort", aborts},
    {"/crash", crashes},
    {"/hang", hangs},
    {"/beat", beats_and_hangs},
    {"/spin", spins},
    {"/busy", spins_beside},
    {"/leak", leaks},
    {"/scribble", scribbles},
    {"/close", closes_everything},
};

/* Has the host archive a message, under the number of the call that wants it: it is answered when the host has answered. */
static void keep(const animal *self, uint64_t id, const char *native_id) {
    char *page = NULL;
    stele_buf payload = no_bytes;
    int len = asprintf(&page,
                       "{\"conversations\":[{\"native_id\":\"kept\",\"kind\":\"group\"}],\"messages\":[{\"native_id\":\"%s\","
                       "\"conversation\":\"kept\",\"sender\":\"zoo\",\"sent_at\":1700000000000000,\"kind\":\"text\","
                       "\"text\":\"kept\",\"body\":\"{}\"}]}",
                       native_id);
    if (len < 0) abort();
    payload.ptr = (const uint8_t *)page;
    payload.len = (size_t)len;
    payload.owner = page;
    payload.release = free;
    send_frame(self, STELE_CALL, id, "archive.append", payload, no_bytes);
}

/* ---- the boundary ----------------------------------------------------------------------------------------------- */

static int is(stele_slice op, const char *name) { return op.len == strlen(name) && memcmp(op.ptr, name, op.len) == 0; }

static void call(animal *self, const stele_frame *frame) {
    char path[WORD];
    if (strcmp(self->deed, "mute") == 0) return;
    if (is(frame->op, "describe")) {
        reply(self, frame->id, "{\"name\":\"zoo\",\"version\":\"0\",\"operations\":[\"describe\",\"health\",\"http.handle\"]}");
        if (strcmp(self->deed, "leaves") == 0) say(self, STELE_GOODBYE, 0, "");
        return;
    }
    if (is(frame->op, "health")) {
        reply(self, frame->id, "{\"ok\":true}");
        return;
    }
    text_of(&frame->payload, is(frame->op, "media.fetch") ? "handle" : "path", path);
    if (strncmp(path, "/keep/", 6) == 0) {
        keep(self, frame->id, path + 6);
        return;
    }
    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        if (strcmp(path, deeds[i].path) == 0 && !deeds[i].does(self, frame->id)) return;
    reply(self, frame->id, "{\"status\":200}");
}

static void hello(animal *self, const stele_frame *frame) {
    static const char words[] = "{\"name\":\"zoo\",\"version\":\"0\"}";
    text_of(&frame->payload, "deed", self->deed);
    if (strcmp(self->deed, "silent") == 0) return;
    say(self, STELE_HELLO, 0, strcmp(self->deed, "nonsense") == 0 ? "no JSON at all" : words);
    if (strcmp(self->deed, "twofold") == 0) say(self, STELE_HELLO, 0, words);
}

static void goodbye(const animal *self) {
    if (self->stays) return;
    say(self, STELE_GOODBYE, 0, "");
    if (!self->talks_on) return;
    for (uint64_t id = 1; id < 10; id++) reply(self, id, "{\"status\":200}");
    say(self, STELE_GOODBYE, 0, "");
    keep(self, 1, "too-late");
}

static void post(void *ctx, stele_frame *frame) {
    animal *self = ctx;
    switch (frame->kind) {
    case STELE_HELLO: hello(self, frame); break;
    case STELE_CALL: call(self, frame); break;
    case STELE_REPLY: reply(self, frame->id, "{\"status\":200}"); break;
    case STELE_ERROR: reply(self, frame->id, "{\"status\":500}"); break;
    case STELE_GOODBYE: goodbye(self); break;
    }
    if (frame->payload.release) frame->payload.release(frame->payload.owner);
    if (frame->body.release) frame->body.release(frame->body.owner);
}

/* Whether the file this was loaded from is zoo-<deed>.so. */
static int is_named(const char *deed) {
    Dl_info info;
    const char *name = dladdr(large, &info) != 0 && info.dli_fname != NULL ? strrchr(info.dli_fname, '-') : NULL;
    size_t len = strlen(deed);
    return name != NULL && strncmp(name + 1, deed, len) == 0 && name[1 + len] == '.';
}

static int32_t zoo_open(const stele_peer *host, stele_peer *plugin) {
    animal *self = calloc(1, sizeof *self);
    if (self == NULL || is_named("open")) return STELE_OPEN_FAILED;
    if (is_named("stuck"))
        for (;;) pause();
    self->host = *host;
    plugin->size = sizeof *plugin;
    plugin->ctx = self;
    plugin->post = is_named("post") ? NULL : post;
    /* Before the host has spoken a plugin has nothing to say. */
    notify(self, "{\"level\":\"error\",\"message\":\"too early\"}");
    return STELE_OPEN_OK;
}

static void zoo_close(void *ctx) {
    animal *self = ctx;
    if (self->crashes) crashes(self, 0);
    if (self->hangs) hangs(self, 0);
    if (!self->has_threads) free(self);
}

const stele_descriptor *stele_plugin_v1(void) {
    static stele_descriptor descriptor = {
        STELE_MAGIC, STELE_ABI, STELE_DESCRIPTOR_JSON, sizeof descriptor, "zoo", "0", zoo_open, zoo_close,
    };
    if (is_named("crash")) crashes(NULL, 0);
    if (is_named("null")) return NULL;
    if (is_named("magic")) descriptor.magic = 0x12345678;
    if (is_named("abi")) descriptor.abi = 2;
    if (is_named("size")) descriptor.size = 16;
    if (is_named("name")) descriptor.name = NULL;
    return &descriptor;
}
