/*
 * stele_plugin.h: the boundary between Stele and a plugin, ABI version 1. Frozen: a structure only ever grows at its end.
 *
 * A plugin is a shared library that exports one symbol, stele_plugin_v1. Everything else is messages ("frames") that both
 * sides post to each other.
 *
 * LIFE OF AN INSTANCE
 *
 *   host                                   plugin
 *   open(host, plugin)        ------->     keeps a copy of *host, fills *plugin, returns 0
 *   post hello  (id 0, JSON)  ------->     reads name and configuration of the instance, opens it
 *                             <-------     post hello (id 0), or error (id 0): the instance cannot be opened
 *        ... calls, replies, items, notifies, in both directions ...
 *   post goodbye              ------->     finishes the calls it has, then
 *                             <-------     post goodbye
 *   close(plugin.ctx)         ------->     returns when its threads no longer post
 *
 * A library may be asked to open several instances, and to open again after close. It is never unloaded.
 *
 * FRAMES
 *
 *   kind      id             op    payload                    what it is for
 *   HELLO     0              -     hello                      first frame of each side
 *   CALL      caller's       name  request                    asks for an operation
 *   ITEM      the call's     -     item                       one part of an answer to a call with STELE_FRAME_STREAM
 *   REPLY     the call's     -     reply                      ends a call
 *   ERROR     the call's     -     error                      ends a call that failed
 *   CANCEL    the call's     -     -                          the caller no longer wants the answer: do not send one
 *   CREDIT    the call's     -     {"items": n}               the caller takes n more items
 *   NOTIFY    0              name  record                     tells something; never answered
 *   GOODBYE   0              -     -                          the sender makes no more calls
 *
 * Each side numbers its own calls, from 1, and never uses a number twice: REPLY, ERROR and ITEM name a call of the receiver,
 * CANCEL and CREDIT one of the sender. Ignore a kind, a notify, a field or a call number you do not know; answer a call you
 * do not know with the error code "unsupported".
 *
 * A payload is one map whose keys are field names (a few replies are a bare value: null for a thing that does not exist, true
 * or false): MessagePack, or JSON when the plugin's descriptor has STELE_DESCRIPTOR_JSON. The host's hello is always JSON. In
 * JSON, bytes are a string when they are UTF-8 and an array of numbers otherwise; both are understood. An empty payload means
 * an empty map. Bulk bytes (HTTP bodies, media) are in body, never in the payload.
 *
 *   hello:  {"abi_minor": 0, "name": "...", "version": "...",
 *            "limits": {"max_frame": bytes, "max_calls": n, "credit": n},    what the sender bears as a receiver
 *            "instance": "...", "config": {...}, "isolated": true,           only from the host; config holds secrets
 *            "texts": ["/corp/0/id"],      only from the host; JSON pointers of text that may stand for a number or true
 *            "threads": n}                                                   only from the plugin
 *   error:  {"code": "invalid", "message": "lower case, no secrets", "retry_after_ms": n (optional),
 *            "mistakes": [{"key": "corp[0].id", "message": "is empty"}]}    optional; what is wrong with the configuration
 *           codes: unsupported invalid not_found denied rate_limited unavailable deadline cancelled too_large internal
 *   notify "log":    {"level": "error|warn|info|debug|trace", "target": "", "message": "", "fields": [["name", "value"]]}
 *   notify "metric": {"name": "", "kind": "counter|gauge|histogram", "value": 1.0, "labels": [["name", "value"]]}
 *
 * Limits: payload and body of one frame have at most max_frame bytes together; at most max_calls calls of the other side are
 * unanswered at a time (answer more with "too_large"); a stream sends credit items, then waits for CREDIT frames.
 *
 * OWNERSHIP
 *
 *   stele_slice   borrowed: valid until the function it was passed to returns.
 *   stele_buf     moved: whoever holds it calls release(owner) exactly once, on any thread, when done. release may be NULL:
 *                 then there is nothing to do. post moves payload and body to the callee in every case; it should leave the
 *                 stele_frame itself, which stays the caller's (usually on its stack), otherwise untouched.
 *
 * THREADS
 *
 *   post enqueues and returns: it never waits for anything. It may be called from any thread, by several at once, and from
 *   within the other side's post. open and close are called once each per instance. No function may let a C++ exception, a
 *   longjmp or a Rust panic pass. A plugin that writes to stdout or stderr finds it in the daemon's log.
 */
#ifndef STELE_PLUGIN_H
#define STELE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* First field of a descriptor: the bytes "STEL" on a little-endian machine. */
#define STELE_MAGIC UINT32_C(0x4c455453)
/* Version of the ABI. */
#define STELE_ABI UINT16_C(1)

/* stele_descriptor.flags: payloads from and to this plugin are JSON. */
#define STELE_DESCRIPTOR_JSON UINT16_C(1)

/* stele_frame.flags: the payload is JSON. Need not be set by a plugin with STELE_DESCRIPTOR_JSON. */
#define STELE_FRAME_JSON UINT32_C(1)
/* stele_frame.flags of a call: the caller takes items. */
#define STELE_FRAME_STREAM UINT32_C(2)

/* stele_frame.kind */
enum {
  STELE_HELLO = 1,
  STELE_CALL = 2,
  STELE_ITEM = 3,
  STELE_REPLY = 4,
  STELE_ERROR = 5,
  STELE_CANCEL = 6,
  STELE_CREDIT = 7,
  STELE_NOTIFY = 8,
  STELE_GOODBYE = 9
};

/* What open returns. */
enum {
  STELE_OPEN_OK = 0,
  STELE_OPEN_INVALID = -1,
  STELE_OPEN_FAILED = -2
};

/* Longest name of an operation, in bytes. */
#define STELE_MAX_OP 128

/* Bytes borrowed for the call. ptr may be NULL when len is 0. */
typedef struct {
  const uint8_t *ptr;
  size_t len;
} stele_slice;

/* Bytes that are moved; released once, on any thread. */
typedef struct {
  const uint8_t *ptr;
  size_t len;
  void *owner;
  void (*release)(void *owner);
} stele_buf;

/* One message. */
typedef struct {
  uint32_t size;     /* sizeof(stele_frame) */
  uint32_t kind;
  uint64_t id;
  uint32_t flags;
  uint32_t reserved; /* 0 */
  stele_slice op;    /* UTF-8, not NUL-terminated */
  stele_buf payload;
  stele_buf body;
} stele_frame;

/* One end of the boundary. */
typedef struct {
  size_t size; /* sizeof(stele_peer) */
  void *ctx;
  void (*post)(void *ctx, stele_frame *frame);
} stele_peer;

/* What a library says about itself: a constant. */
typedef struct {
  uint32_t magic; /* STELE_MAGIC */
  uint16_t abi;   /* STELE_ABI */
  uint16_t flags;
  size_t size;    /* sizeof(stele_descriptor) */
  const char *name;
  const char *version;
  /* host is borrowed: copy it. Its ctx and post stay usable until close returned. Fill in plugin, or return another number. */
  int32_t (*open)(const stele_peer *host, stele_peer *plugin);
  void (*close)(void *ctx);
} stele_descriptor;

/* The only symbol. */
#if defined(STELE_BUILDING_PLUGIN) && defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const stele_descriptor *stele_plugin_v1(void);

#ifdef __cplusplus
}
#endif

#endif
