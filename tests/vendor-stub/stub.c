/*
 * Stands in for the vendor's archive library (reference/wecom-archive.md §1.2): the same 17 functions, signatures,
 * ownership rules and return codes, so that the whole path above it is the real one.
 *
 * Its network is a folder. The proxy argument names it, `file:///abs/dir`; when that folder holds one named like the
 * corp, that one is used, so that several corps can share a proxy setting.
 *
 *   chatdata.jsonl   one envelope (JSON) per line, ascending seq; may grow while we run
 *   media/<fileid>   the bytes of a file; its sdkfileid is the base64 of "stub:<fileid>"
 *   secret           when present, the only archive secret that gets a token
 *   token            when present, its content is the token in force; a handle keeps the one it first saw (§1.6)
 *   calls            when present, every call is appended to it, and every page that is answered
 *   faults           rules, re-read when they change; see `struct rule`
 *   leaks            written whenever the last handle is destroyed: what is still alive
 *
 * The cipher is a toy, keyed by the random string, with an integrity check; `cipher.rs` holds the other half.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum {
    OK = 0,
    BAD_PARAMETER = 10000,
    NETWORK = 10001,
    UNPARSABLE_REPLY = 10002,
    SYSTEM = 10003,
    BAD_FILE_ID = 10005,
    WRONG_KEY = 10008,
    EXPIRED = 10010,
};

enum { CHUNK = 512 * 1024, BLOCK = 16, MAX_LIMIT = 1000, MAX_RULES = 32, MAX_FOLDERS = 64, MIN_CIPHERTEXT = 13 };

typedef struct { char *buf; int len; } Slice_t;
typedef struct { char *outindexbuf; int out_len; char *data; int data_len; int is_finish; } MediaData_t;

typedef struct {
    uint32_t alive;
    char *corp, *secret, *token;
    int has_token;
    atomic_int busy;
} WeWorkFinanceSdk_t;

#define ALIVE 0x57454b31u

static atomic_long live_handles, live_slices, live_media, shared_handles;

/* One line of `faults`:  <chat|media|decrypt|token|stdout> <action> [argument] [match TEXT] [from SEQ] [times N]
 *   return CODE | body TEXT | truncate | duplicate | shuffle | overlap | empty | invalid | garbage | corrupt |
 *   abort | segv | hang | delay MS | noise
 * `match` limits it to a decrypted text or a file id that contains TEXT, `from` to calls at or after a seq, `times` to
 * the first N of them, counted in the folder so that the count survives this process. */
struct rule {
    char target[12], action[16], argument[1024], match[128];
    uint64_t from;
    long times; /* -1: always */
    uint64_t id;
};

struct line { uint64_t seq, offset, length; };

struct folder {
    char path[2048];
    /* chatdata.jsonl */
    int fd;
    ino_t inode;
    uint64_t indexed;
    struct line *lines;
    size_t count, room;
    /* faults */
    struct stat faults_seen;
    int faults_known;
    struct rule rules[MAX_RULES];
    int rule_count;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct folder *folders[MAX_FOLDERS];
static int folder_count;
static struct folder *latest; /* DecryptData has no handle: its faults are those of the folder used last */

/* ---- small helpers ------------------------------------------------------------------------------------------------- */

static void die(const char *why) {
    fprintf(stderr, "vendor stub: %s\n", why);
    abort();
}

static void *must(void *memory) {
    if (!memory) die("out of memory");
    return memory;
}

static uint64_t fnv(const void *data, size_t length, uint64_t hash) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static char *slurp(const char *folder, const char *name, size_t *length) {
    char path[2304];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    struct stat st;
    if (fstat(fd, &st) != 0) { close(fd); return NULL; }
    char *text = must(malloc((size_t)st.st_size + 1));
    size_t have = 0;
    ssize_t got;
    while (have < (size_t)st.st_size && (got = read(fd, text + have, (size_t)st.st_size - have)) > 0) have += (size_t)got;
    close(fd);
    text[have] = 0;
    if (length) *length = have;
    return text;
}

static char *slurp_trimmed(const char *folder, const char *name) {
    size_t length;
    char *text = slurp(folder, name, &length);
    while (text && length && (text[length - 1] == '\n' || text[length - 1] == '\r')) text[--length] = 0;
    return text;
}

static void append(const char *folder, const char *name, int create, const char *format, ...) {
    char path[2304], text[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | (create ? O_CREAT : 0), 0644);
    if (fd < 0) return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0 && write(fd, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1) < 0) { /* a log */ }
    close(fd);
}

static int base64_value(int c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

/* Returns the decoded bytes (with a NUL behind them), or NULL when the text is not base64. */
static unsigned char *unbase64(const char *text, size_t length, size_t *decoded) {
    while (length && text[length - 1] == '=') length--;
    unsigned char *bytes = must(malloc(length / 4 * 3 + 4));
    size_t have = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < length; i++) {
        int value = base64_value((unsigned char)text[i]);
        if (value < 0) { free(bytes); return NULL; }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 == 1) bytes[have++] = (unsigned char)(bits >> 4);
        if (i % 4 == 2) bytes[have++] = (unsigned char)(bits >> 2);
        if (i % 4 == 3) bytes[have++] = (unsigned char)bits;
    }
    bytes[have] = 0;
    *decoded = have;
    return bytes;
}

/* ---- the folder ---------------------------------------------------------------------------------------------------- */

/* The folder behind this proxy and corp; NULL when the proxy names none. The caller holds the lock. */
static struct folder *folder_of(const char *proxy, const char *corp) {
    if (!proxy || strncmp(proxy, "file://", 7) != 0) return NULL;
    char path[2048];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", proxy + 7, corp);
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) snprintf(path, sizeof path, "%s", proxy + 7);
    for (int i = 0; i < folder_count; i++)
        if (strcmp(folders[i]->path, path) == 0) return latest = folders[i];
    if (folder_count == MAX_FOLDERS || stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return NULL;
    struct folder *folder = must(calloc(1, sizeof *folder));
    strcpy(folder->path, path);
    folder->fd = -1;
    return latest = folders[folder_count++] = folder;
}

static void add_line(struct folder *folder, uint64_t seq, uint64_t offset, uint64_t length) {
    if (folder->count == folder->room) {
        folder->room = folder->room ? folder->room * 2 : 4096;
        folder->lines = must(realloc(folder->lines, folder->room * sizeof *folder->lines));
    }
    folder->lines[folder->count++] = (struct line){seq, offset, length};
}

/* Brings the offsets of chatdata.jsonl up to date: only what was appended since is read. */
static void refresh(struct folder *folder) {
    char path[2304];
    struct stat st;
    snprintf(path, sizeof path, "%s/chatdata.jsonl", folder->path);
    if (stat(path, &st) != 0) { folder->count = 0; return; }
    if (folder->fd < 0 || st.st_ino != folder->inode || (uint64_t)st.st_size < folder->indexed) {
        if (folder->fd >= 0) close(folder->fd);
        folder->fd = open(path, O_RDONLY | O_CLOEXEC);
        folder->inode = st.st_ino;
        folder->indexed = folder->count = 0;
    }
    if (folder->fd < 0 || (uint64_t)st.st_size == folder->indexed) return;
    enum { STEP = 1 << 20 };
    size_t room = STEP, have = 0;
    char *window = must(malloc(room));
    uint64_t start = folder->indexed; /* offset of window[0] */
    for (;;) {
        if (have == room) window = must(realloc(window, room *= 2));
        ssize_t got = pread(folder->fd, window + have, room - have, (off_t)(start + have));
        if (got <= 0) break;
        have += (size_t)got;
        size_t used = 0;
        char *end;
        while ((end = memchr(window + used, '\n', have - used))) {
            size_t length = (size_t)(end - (window + used));
            char *seq = memmem(window + used, length, "\"seq\":", 6);
            if (seq) add_line(folder, strtoull(seq + 6, NULL, 10), start + used, length);
            used += length + 1;
        }
        memmove(window, window + used, have - used);
        have -= used;
        start += used;
    }
    folder->indexed = start;
    free(window);
}

/* Index of the first line with a seq above this one. */
static size_t after(const struct folder *folder, uint64_t seq) {
    size_t low = 0, high = folder->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (folder->lines[middle].seq > seq) high = middle; else low = middle + 1;
    }
    return low;
}

/* ---- faults -------------------------------------------------------------------------------------------------------- */

/* Cuts " <word> <value>" off the end of the text; returns the value, or NULL. The value of a count is digits only, so
 * that the words of a body are no options. */
static char *cut_option(char *text, const char *word, int is_count) {
    size_t length = strlen(word);
    for (char *at = text + strlen(text); at > text; at--)
        if (at[-1] == ' ' && strncmp(at, word, length) == 0 && at[length] == ' ') {
            if (is_count && at[length + 1 + strspn(at + length + 1, "0123456789")]) return NULL;
            at[-1] = 0;
            return at + length + 1;
        }
    return NULL;
}

static void read_rules(struct folder *folder) {
    char path[2304];
    struct stat st;
    snprintf(path, sizeof path, "%s/faults", folder->path);
    if (stat(path, &st) != 0) memset(&st, 0, sizeof st);
    if (folder->faults_known && st.st_ino == folder->faults_seen.st_ino && st.st_size == folder->faults_seen.st_size &&
        memcmp(&st.st_mtim, &folder->faults_seen.st_mtim, sizeof st.st_mtim) == 0)
        return;
    folder->faults_seen = st;
    folder->faults_known = 1;
    folder->rule_count = 0;
    char *text = slurp(folder->path, "faults", NULL), *rest = text, *line;
    while (rest && (line = strsep(&rest, "\n")) && folder->rule_count < MAX_RULES) {
        if (!*line || *line == '#') continue;
        struct rule rule = {.times = -1, .id = fnv(line, strlen(line), 0xcbf29ce484222325u)};
        char *value;
        if ((value = cut_option(line, "times", 1))) rule.times = strtol(value, NULL, 10);
        if ((value = cut_option(line, "from", 1))) rule.from = strtoull(value, NULL, 10);
        if (!strstr(line, " body ") && (value = cut_option(line, "match", 0))) snprintf(rule.match, sizeof rule.match, "%s", value);
        int consumed = 0;
        if (sscanf(line, "%11s %15s %n", rule.target, rule.action, &consumed) < 2) continue;
        snprintf(rule.argument, sizeof rule.argument, "%s", line + consumed);
        folder->rules[folder->rule_count++] = rule;
    }
    free(text);
}

/* Whether this rule still has a turn; taking one is atomic over all processes that share the folder. */
static int take_turn(const struct folder *folder, const struct rule *rule) {
    if (rule->times < 0) return 1;
    char path[2304];
    snprintf(path, sizeof path, "%s/.turns-%016llx", folder->path, (unsigned long long)rule->id);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return 0;
    struct stat st;
    int mine = write(fd, "x", 1) == 1 && fstat(fd, &st) == 0 && st.st_size <= rule->times;
    close(fd);
    return mine;
}

static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

static void hang(void) {
    for (;;) pause();
}

/* The rule to obey now, copied to *out. Rules that only wait or kill are carried out here. */
static int fault(struct folder *folder, const char *target, const char *subject, uint64_t seq, struct rule *out) {
    int found = 0;
    long wait = 0;
    const char *end = NULL;
    pthread_mutex_lock(&lock);
    if (folder) {
        read_rules(folder);
        for (int i = 0; i < folder->rule_count && !found && !end; i++) {
            struct rule *rule = &folder->rules[i];
            if (strcmp(rule->target, target) != 0 || seq < rule->from) continue;
            if (*rule->match && (!subject || !strstr(subject, rule->match))) continue;
            if (!take_turn(folder, rule)) continue;
            if (strcmp(rule->action, "delay") == 0) wait += strtol(rule->argument, NULL, 10);
            else if (strcmp(rule->action, "hang") == 0 || strcmp(rule->action, "abort") == 0 || strcmp(rule->action, "segv") == 0)
                end = rule->action;
            else { *out = *rule; found = 1; }
        }
    }
    pthread_mutex_unlock(&lock);
    if (wait) sleep_ms(wait);
    if (end && *end == 'h') hang();
    if (end && *end == 'a') die("aborted by a fault rule");
    if (end) { /* Rust's handler expects a true fault, and returns from a signal that was only raised */
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    return found;
}

static int is(const struct rule *rule, const char *action) {
    return strcmp(rule->action, action) == 0;
}

/* ---- handles, slices ----------------------------------------------------------------------------------------------- */

API WeWorkFinanceSdk_t *NewSdk(void) {
    WeWorkFinanceSdk_t *sdk = must(calloc(1, sizeof *sdk));
    sdk->alive = ALIVE;
    live_handles++;
    return sdk;
}

API int Init(WeWorkFinanceSdk_t *sdk, const char *corpid, const char *secret) {
    if (!sdk || sdk->alive != ALIVE) die("Init on a destroyed handle");
    if (!corpid || !*corpid || !secret || !*secret) return BAD_PARAMETER;
    free(sdk->corp);
    free(sdk->secret);
    sdk->corp = must(strdup(corpid));
    sdk->secret = must(strdup(secret));
    return OK; /* a token it has stays, as in the real library */
}

API void DestroySdk(WeWorkFinanceSdk_t *sdk) {
    if (!sdk) return;
    if (sdk->alive != ALIVE) die("handle destroyed twice");
    if (sdk->busy) die("handle destroyed while in use");
    /* The handle's memory is kept, so that a use after this is noticed instead of undefined. */
    sdk->alive = 0;
    free(sdk->corp);
    free(sdk->secret);
    free(sdk->token);
    if (--live_handles == 0) {
        pthread_mutex_lock(&lock);
        for (int i = 0; i < folder_count; i++)
            append(folders[i]->path, "leaks", 1, "pid %d handles 0 slices %ld media %ld shared %ld\n", (int)getpid(),
                   (long)live_slices, (long)live_media, (long)shared_handles);
        pthread_mutex_unlock(&lock);
    }
}

API Slice_t *NewSlice(void) {
    live_slices++;
    return must(calloc(1, sizeof(Slice_t)));
}

API void FreeSlice(Slice_t *slice) {
    if (!slice) return;
    free(slice->buf);
    free(slice);
    live_slices--;
}

API char *GetContentFromSlice(Slice_t *slice) {
    return slice ? slice->buf : NULL;
}

API int GetSliceLen(Slice_t *slice) {
    return slice ? slice->len : 0;
}

API MediaData_t *NewMediaData(void) {
    live_media++;
    return must(calloc(1, sizeof(MediaData_t)));
}

API void FreeMediaData(MediaData_t *media) {
    if (!media) return;
    free(media->outindexbuf);
    free(media->data);
    free(media);
    live_media--;
}

API char *GetOutIndexBuf(MediaData_t *media) {
    return media ? media->outindexbuf : NULL;
}

API char *GetData(MediaData_t *media) {
    return media ? media->data : NULL;
}

API int GetIndexLen(MediaData_t *media) {
    return media ? media->out_len : 0;
}

API int GetDataLen(MediaData_t *media) {
    return media ? media->data_len : 0;
}

API int IsMediaDataFinish(MediaData_t *media) {
    return media ? media->is_finish : 0;
}

/* For tests: what is alive in this process; 0 handles, 1 slices, 2 media data, 3 concurrent uses of one handle. */
API long stele_stub_live(int what) {
    switch (what) {
    case 0: return live_handles;
    case 1: return live_slices;
    case 2: return live_media;
    default: return shared_handles;
    }
}

static void fill(Slice_t *slice, char *text, size_t length) {
    /* Like the real one: what an earlier call left in a slice that is used again is lost. */
    slice->buf = text;
    slice->len = (int)length;
}

static void enter(WeWorkFinanceSdk_t *sdk) {
    if (!sdk || sdk->alive != ALIVE) die("destroyed handle used");
    if (atomic_fetch_add(&sdk->busy, 1) != 0) shared_handles++;
}

static int leave(WeWorkFinanceSdk_t *sdk, int code) {
    atomic_fetch_sub(&sdk->busy, 1);
    return code;
}

/* ---- tokens (§1.6) ------------------------------------------------------------------------------------------------- */

static int token_refused(const char *reply) {
    /* The real library prints the raw reply, to stdout and unasked. */
    printf("%s\n", reply);
    fflush(stdout);
    return NETWORK;
}

/* Gets this handle a token if it has none. */
static int fetch_token(WeWorkFinanceSdk_t *sdk, struct folder *folder) {
    struct rule rule;
    if (sdk->has_token) return OK;
    if (fault(folder, "token", NULL, 0, &rule)) {
        if (is(&rule, "body")) return token_refused(rule.argument);
        return token_refused("{\"errcode\":40013,\"errmsg\":\"invalid corpid\"}");
    }
    char *secret = slurp_trimmed(folder->path, "secret");
    int wrong = secret && strcmp(secret, sdk->secret) != 0;
    free(secret);
    if (wrong) return token_refused("{\"errcode\":40001,\"errmsg\":\"invalid credential, hint: [stub]\"}");
    free(sdk->token);
    sdk->token = slurp_trimmed(folder->path, "token");
    sdk->has_token = 1;
    return OK;
}

/* Whether the token of this handle is no longer the one in force. */
static int token_stale(WeWorkFinanceSdk_t *sdk, struct folder *folder) {
    char *token = slurp_trimmed(folder->path, "token");
    int stale = token && (!sdk->token || strcmp(token, sdk->token) != 0);
    free(token);
    return stale;
}

/* ---- GetChatData (§1.4) -------------------------------------------------------------------------------------------- */

#define HEAD "{\"errcode\":0,\"errmsg\":\"ok\",\"chatdata\":["

/* The page as the network would deliver it. `arrange` is the action of a fault that changes the rows, or ""; `last` is
 * left as it is where there are none. */
static char *page(struct folder *folder, uint64_t seq, unsigned limit, const char *arrange, size_t *length, uint64_t *last) {
    pthread_mutex_lock(&lock);
    refresh(folder);
    size_t first = after(folder, seq), end = first + limit < folder->count ? first + limit : folder->count;
    if (strcmp(arrange, "overlap") == 0) first -= first < 5 ? first : 5;
    size_t rows = end - first, bytes = sizeof HEAD + 4;
    if (rows) *last = folder->lines[end - 1].seq;
    for (size_t i = first; i < end; i++) bytes += folder->lines[i].length + 1;
    int twice = strcmp(arrange, "duplicate") == 0, backwards = strcmp(arrange, "shuffle") == 0;
    char *text = must(malloc(bytes * (twice ? 2 : 1))), *at = text + sizeof HEAD - 1;
    memcpy(text, HEAD, sizeof HEAD - 1);
    if (rows && !twice && !backwards) { /* one read: the lines lie behind one another, newlines become commas */
        uint64_t start = folder->lines[first].offset, stop = folder->lines[end - 1].offset + folder->lines[end - 1].length;
        ssize_t got = pread(folder->fd, at, stop - start, (off_t)start);
        if (got != (ssize_t)(stop - start)) die("chatdata.jsonl shrank");
        for (size_t i = first; i + 1 < end; i++) at[folder->lines[i].offset + folder->lines[i].length - start] = ',';
        at += got;
    }
    for (int round = 0; (twice || backwards) && round < (twice ? 2 : 1); round++)
        for (size_t i = 0; i < rows; i++) {
            const struct line *line = &folder->lines[backwards ? end - 1 - i : first + i];
            if (at[-1] != '[') *at++ = ',';
            if (pread(folder->fd, at, line->length, (off_t)line->offset) != (ssize_t)line->length) die("chatdata.jsonl shrank");
            at += line->length;
        }
    pthread_mutex_unlock(&lock);
    memcpy(at, "]}", 3);
    *length = (size_t)(at - text) + 2;
    return text;
}

API int GetChatData(WeWorkFinanceSdk_t *sdk, unsigned long long seq, unsigned int limit, const char *proxy,
                    const char *passwd, int timeout, Slice_t *chat) {
    enter(sdk);
    (void)passwd;
    if (!chat || !sdk->corp || limit == 0 || limit > MAX_LIMIT) return leave(sdk, BAD_PARAMETER);
    pthread_mutex_lock(&lock);
    struct folder *folder = folder_of(proxy, sdk->corp);
    if (folder)
        append(folder->path, "calls", 0, "chat corp=%s seq=%llu limit=%u timeout=%d pid=%d\n", sdk->corp, seq, limit,
               timeout, (int)getpid());
    pthread_mutex_unlock(&lock);
    if (!folder) return leave(sdk, NETWORK);
    struct rule rule = {0};
    if (fault(folder, "stdout", NULL, seq, &rule)) {
        printf("noise of the vendor's library %llu \x01\x02\xff{\"errcode\":0}\n", seq);
        fflush(stdout);
    }
    if (timeout <= 0) hang(); /* the real one never returns either */
    int code = fetch_token(sdk, folder);
    if (code != OK) return leave(sdk, code);
    memset(&rule, 0, sizeof rule);
    if (fault(folder, "chat", NULL, seq, &rule) && is(&rule, "return")) return leave(sdk, atoi(rule.argument));
    size_t length;
    char *text;
    if (token_stale(sdk, folder)) text = must(strdup("{\"errcode\":42001,\"errmsg\":\"access_token expired\"}"));
    else if (is(&rule, "body")) text = must(strdup(rule.argument));
    else if (is(&rule, "empty")) text = must(strdup(""));
    else if (is(&rule, "invalid")) text = must(strdup("<html><body>502 Bad Gateway</body></html>"));
    else {
        uint64_t last = seq;
        text = page(folder, seq, limit, rule.action, &length, &last);
        pthread_mutex_lock(&lock);
        append(folder->path, "calls", 0, "page corp=%s seq=%llu last=%llu pid=%d\n", sdk->corp, seq,
               (unsigned long long)last, (int)getpid());
        pthread_mutex_unlock(&lock);
        if (is(&rule, "truncate")) text[length / 2] = 0;
        fill(chat, text, is(&rule, "truncate") ? length / 2 : length);
        return leave(sdk, OK);
    }
    fill(chat, text, strlen(text));
    return leave(sdk, OK);
}

/* ---- DecryptData (§1.7) -------------------------------------------------------------------------------------------- */

API int DecryptData(const char *encrypt_key, const char *encrypt_msg, Slice_t *msg) {
    if (!encrypt_key || !encrypt_msg || !msg) return BAD_PARAMETER;
    size_t length = strlen(encrypt_msg), have;
    if (length < MIN_CIPHERTEXT) die("std::out_of_range"); /* the real one dies of an uncaught exception */
    unsigned char *bytes = unbase64(encrypt_msg, length, &have);
    if (!bytes || have < 16) { free(bytes); return WRONG_KEY; }
    uint64_t nonce, tag, key = fnv(encrypt_key, strlen(encrypt_key), 0xcbf29ce484222325u);
    memcpy(&nonce, bytes, 8);
    memcpy(&tag, bytes + have - 8, 8);
    size_t size = have - 16;
    unsigned char *plain = must(malloc(size + 1));
    for (size_t i = 0; i < size; i += 8) {
        uint64_t stream = mix(key ^ nonce ^ (i / 8 * 0x9e3779b97f4a7c15u));
        for (size_t j = i; j < size && j < i + 8; j++, stream >>= 8) plain[j] = bytes[8 + j] ^ (unsigned char)stream;
    }
    plain[size] = 0;
    free(bytes);
    if (mix(fnv(plain, size, key) ^ nonce) != tag) { free(plain); return WRONG_KEY; }
    struct rule rule = {0};
    pthread_mutex_lock(&lock);
    struct folder *folder = latest;
    pthread_mutex_unlock(&lock);
    if (fault(folder, "decrypt", (char *)plain, 0, &rule)) {
        if (is(&rule, "return")) { free(plain); return atoi(rule.argument); }
        if (is(&rule, "garbage")) { plain[size / 2] = 0; size /= 2; }
    }
    fill(msg, (char *)plain, size);
    return OK;
}

/* ---- GetMediaData (§1.9) ------------------------------------------------------------------------------------------- */

API int GetMediaData(WeWorkFinanceSdk_t *sdk, const char *indexbuf, const char *sdkFileid, const char *proxy,
                     const char *passwd, int timeout, MediaData_t *media) {
    enter(sdk);
    (void)passwd;
    if (!media || !sdk->corp || !sdkFileid || !*sdkFileid) return leave(sdk, BAD_PARAMETER);
    uint64_t from = 0, to = CHUNK - 1;
    if (indexbuf && *indexbuf) {
        unsigned long long a, b;
        char rest;
        if (sscanf(indexbuf, "Range:bytes=%llu-%llu%c", &a, &b, &rest) != 2 || b < a || (b - a + 1) % BLOCK != 0)
            return leave(sdk, BAD_PARAMETER);
        from = a;
        to = b;
    }
    pthread_mutex_lock(&lock);
    struct folder *folder = folder_of(proxy, sdk->corp);
    if (folder)
        append(folder->path, "calls", 0, "media corp=%s index=%s timeout=%d pid=%d\n", sdk->corp, indexbuf ? indexbuf : "",
               timeout, (int)getpid());
    pthread_mutex_unlock(&lock);
    if (!folder) return leave(sdk, NETWORK);
    if (timeout <= 0) hang();
    int code = fetch_token(sdk, folder);
    if (code != OK) return leave(sdk, code);
    if (token_stale(sdk, folder)) return leave(sdk, UNPARSABLE_REPLY);
    size_t length;
    unsigned char *id = unbase64(sdkFileid, strlen(sdkFileid), &length);
    if (!id || length < 6 || memcmp(id, "stub:", 5) != 0 || strchr((char *)id, '/')) {
        free(id);
        return leave(sdk, BAD_FILE_ID);
    }
    struct rule rule = {0};
    if (fault(folder, "media", (char *)id + 5, from, &rule) && is(&rule, "return")) {
        free(id);
        return leave(sdk, atoi(rule.argument));
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/media/%s", folder->path, (char *)id + 5);
    free(id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0) close(fd);
        return leave(sdk, EXPIRED); /* the files of a message go with it, after five days */
    }
    uint64_t size = (uint64_t)st.st_size, stop = to + 1 < size ? to + 1 : size;
    size_t want = from < stop ? (size_t)(stop - from) : 0;
    char *data = must(malloc(want + 1));
    ssize_t got = pread(fd, data, want, (off_t)from);
    close(fd);
    if (got != (ssize_t)want) { free(data); return leave(sdk, SYSTEM); }
    if (is(&rule, "corrupt") && want) data[want / 2] ^= 0x55;
    if (is(&rule, "truncate")) { want /= 2; stop = size; }
    media->data = data;
    media->data_len = (int)want;
    media->is_finish = stop >= size;
    char index[96] = "";
    if (!media->is_finish) {
        uint64_t padded = (size + BLOCK - 1) / BLOCK * BLOCK, last = stop + CHUNK - 1;
        snprintf(index, sizeof index, "Range:bytes=%llu-%llu", (unsigned long long)stop,
                 (unsigned long long)(last < padded - 1 ? last : padded - 1));
    }
    media->outindexbuf = must(strdup(index));
    media->out_len = (int)strlen(index);
    return leave(sdk, OK);
}
