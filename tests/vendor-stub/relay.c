/*
 * Hands every call on to the real vendor library, which lies beside this file as `libreal.so`.
 *
 * Its one trick: the first DecryptData of a message that begins with "QUJPUlQh" reaches the real library cut to three
 * characters, upon which it ends the process with an uncaught exception (reference/wecom-archive.md §1.7). The plugin
 * refuses such a message itself, so this is how a test gets a true abort inside the true library. A file `aborted`
 * beside it remembers that it happened; later calls are handed on unchanged.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define MARK "QUJPUlQh"

typedef void Sdk;
typedef void Slice;
typedef void Media;

static void *real;
static char folder[2048];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void) {
    Dl_info info;
    if (!dladdr((void *)load, &info) || !info.dli_fname) abort();
    snprintf(folder, sizeof folder, "%s", info.dli_fname);
    char *slash = strrchr(folder, '/');
    if (!slash) abort();
    *slash = 0;
    char path[2304];
    snprintf(path, sizeof path, "%s/libreal.so", folder);
    real = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!real) {
        fprintf(stderr, "vendor relay: %s\n", dlerror());
        abort();
    }
}

static void *function(const char *name) {
    pthread_once(&once, load);
    void *found = dlsym(real, name);
    if (!found) {
        fprintf(stderr, "vendor relay: the real library lacks %s\n", name);
        abort();
    }
    return found;
}

#define HAND_ON(type, name, parameters, arguments) \
    API type name parameters { return ((type(*) parameters)function(#name)) arguments; }

HAND_ON(Sdk *, NewSdk, (void), ())
HAND_ON(int, Init, (Sdk *sdk, const char *corp, const char *secret), (sdk, corp, secret))
HAND_ON(void, DestroySdk, (Sdk *sdk), (sdk))
HAND_ON(int, GetChatData,
        (Sdk *sdk, unsigned long long seq, unsigned limit, const char *proxy, const char *passwd, int timeout, Slice *out),
        (sdk, seq, limit, proxy, passwd, timeout, out))
HAND_ON(int, GetMediaData,
        (Sdk *sdk, const char *index, const char *id, const char *proxy, const char *passwd, int timeout, Media *out),
        (sdk, index, id, proxy, passwd, timeout, out))
HAND_ON(Slice *, NewSlice, (void), ())
HAND_ON(void, FreeSlice, (Slice *slice), (slice))
HAND_ON(char *, GetContentFromSlice, (Slice *slice), (slice))
HAND_ON(int, GetSliceLen, (Slice *slice), (slice))
HAND_ON(Media *, NewMediaData, (void), ())
HAND_ON(void, FreeMediaData, (Media *media), (media))
HAND_ON(char *, GetOutIndexBuf, (Media *media), (media))
HAND_ON(char *, GetData, (Media *media), (media))
HAND_ON(int, GetIndexLen, (Media *media), (media))
HAND_ON(int, GetDataLen, (Media *media), (media))
HAND_ON(int, IsMediaDataFinish, (Media *media), (media))

API int DecryptData(const char *key, const char *message, Slice *out) {
    int (*decrypt)(const char *, const char *, Slice *) = (int (*)(const char *, const char *, Slice *))function("DecryptData");
    if (message && strncmp(message, MARK, strlen(MARK)) == 0) {
        char path[2304];
        snprintf(path, sizeof path, "%s/aborted", folder);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0) {
            close(fd);
            return decrypt(key, "abc", out);
        }
    }
    return decrypt(key, message, out);
}
