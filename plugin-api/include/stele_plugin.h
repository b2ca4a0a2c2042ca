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
 * an empty map. Maps and lists are less than 128 deep within each other. Bulk bytes (HTTP bodies, media) are in body, never in
 * the payload.
 *
 *   hello:  {"abi_minor": n, "name": "...", "version": "...",
 *            "limits": {"max_frame": bytes, "max_calls": n, "credit": n},    what the sender bears as a receiver
 *            "instance": "...", "config": {...}, "isolated": true,           only from the host; config holds secrets
 *            "texts": ["/corp/0/id"],      only from the host; JSON pointers of text that may stand for a number or true
 *            "node": n,                    only from the host, from minor 4; less than 1024, another one for each daemon of an archive
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

// stele_frame.kind
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

// First field of a descriptor: the bytes `STEL`, read as a little-endian number.
#define STELE_MAGIC 1279611987

// The version of the ABI; part of the symbol's name.
#define STELE_ABI 1

// Descriptor flag: the plugin's payloads are JSON, and so are those sent to it. Without it they are MessagePack.
#define STELE_DESCRIPTOR_JSON 1

// `open` went well.
#define STELE_OPEN_OK 0

// `open` was called with something it cannot use.
#define STELE_OPEN_INVALID -1

// `open` failed within the plugin.
#define STELE_OPEN_FAILED -2

// Payloads of this frame are JSON; without it they are MessagePack. A plugin whose descriptor says JSON need not set it.
#define STELE_FRAME_JSON 1

// A call whose caller takes items.
#define STELE_FRAME_STREAM 2

// Bytes an operation's name may have.
#define STELE_MAX_OP 128

// Bytes borrowed for the duration of a call.
typedef struct {
  // First byte; may be null when `len` is 0.
  const uint8_t *ptr;
  // Number of bytes.
  size_t len;
} stele_slice;

// Bytes that are moved, with the function that gives them back.
typedef struct {
  // First byte; may be null when `len` is 0.
  const uint8_t *ptr;
  // Number of bytes.
  size_t len;
  // Handed to `release`.
  void *owner;
  // Called exactly once, on any thread; null when nothing needs to be released.
  void (*release)(void *owner);
} stele_buf;

// One message between a plugin and its host.
typedef struct {
  // `sizeof(stele_frame)` of whoever made it.
  uint32_t size;
  // One of `STELE_HELLO` to `STELE_GOODBYE`, or one of the future.
  uint32_t kind;
  // Number of the call it belongs to; 0 when it belongs to none.
  uint64_t id;
  // `STELE_FRAME_JSON`, `STELE_FRAME_STREAM`; others are ignored.
  uint32_t flags;
  // 0.
  uint32_t reserved;
  // Name of the operation, UTF-8; only in calls and notifies.
  stele_slice op;
  // Encoded request, reply, item or error.
  stele_buf payload;
  // Bulk bytes.
  stele_buf body;
} stele_frame;

// One end of the boundary: where frames for it are posted.
typedef struct {
  // `sizeof(stele_peer)` of whoever made it.
  size_t size;
  // Handed to `post` (and, the plugin's, to `close`).
  void *ctx;
  // Takes a frame. Enqueues and returns.
  void (*post)(void *ctx, stele_frame *frame);
} stele_peer;

// What a plugin's library says about itself.
typedef struct {
  // `STELE_MAGIC`.
  uint32_t magic;
  // `STELE_ABI`.
  uint16_t abi;
  // `STELE_DESCRIPTOR_JSON`, or 0.
  uint16_t flags;
  // `sizeof(stele_descriptor)` of the plugin.
  size_t size;
  // Name of the plugin, NUL-terminated UTF-8 of 1 to 256 bytes.
  const char *name;
  // Version of the plugin, NUL-terminated UTF-8 of 1 to 256 bytes.
  const char *version;
  // Opens an instance: fills `plugin` and returns 0, or returns another number and nothing was opened. `host` is borrowed: copy
  // it. Its `ctx` and `post` stay usable until `close` returned.
  int32_t (*open)(const stele_peer *host, stele_peer *plugin);
  // Closes an instance, given the `ctx` its `open` filled in. Returns when the plugin posts no more.
  void (*close)(void *ctx);
} stele_descriptor;

// The only symbol.
#ifdef __cplusplus
extern "C"
#endif
#if defined(STELE_BUILDING_PLUGIN) && defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const stele_descriptor *stele_plugin_v1(void);

// What is frozen, on machines of 64 bits.
#if UINTPTR_MAX == UINT64_MAX && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(stele_slice) == 16, "sizeof(stele_slice) is frozen");
_Static_assert(_Alignof(stele_slice) == 8, "_Alignof(stele_slice) is frozen");
_Static_assert(offsetof(stele_slice, ptr) == 0, "offsetof(stele_slice, ptr) is frozen");
_Static_assert(offsetof(stele_slice, len) == 8, "offsetof(stele_slice, len) is frozen");
_Static_assert(sizeof(stele_buf) == 32, "sizeof(stele_buf) is frozen");
_Static_assert(_Alignof(stele_buf) == 8, "_Alignof(stele_buf) is frozen");
_Static_assert(offsetof(stele_buf, ptr) == 0, "offsetof(stele_buf, ptr) is frozen");
_Static_assert(offsetof(stele_buf, len) == 8, "offsetof(stele_buf, len) is frozen");
_Static_assert(offsetof(stele_buf, owner) == 16, "offsetof(stele_buf, owner) is frozen");
_Static_assert(offsetof(stele_buf, release) == 24, "offsetof(stele_buf, release) is frozen");
_Static_assert(sizeof(stele_frame) == 104, "sizeof(stele_frame) is frozen");
_Static_assert(_Alignof(stele_frame) == 8, "_Alignof(stele_frame) is frozen");
_Static_assert(offsetof(stele_frame, size) == 0, "offsetof(stele_frame, size) is frozen");
_Static_assert(offsetof(stele_frame, kind) == 4, "offsetof(stele_frame, kind) is frozen");
_Static_assert(offsetof(stele_frame, id) == 8, "offsetof(stele_frame, id) is frozen");
_Static_assert(offsetof(stele_frame, flags) == 16, "offsetof(stele_frame, flags) is frozen");
_Static_assert(offsetof(stele_frame, reserved) == 20, "offsetof(stele_frame, reserved) is frozen");
_Static_assert(offsetof(stele_frame, op) == 24, "offsetof(stele_frame, op) is frozen");
_Static_assert(offsetof(stele_frame, payload) == 40, "offsetof(stele_frame, payload) is frozen");
_Static_assert(offsetof(stele_frame, body) == 72, "offsetof(stele_frame, body) is frozen");
_Static_assert(sizeof(stele_peer) == 24, "sizeof(stele_peer) is frozen");
_Static_assert(_Alignof(stele_peer) == 8, "_Alignof(stele_peer) is frozen");
_Static_assert(offsetof(stele_peer, size) == 0, "offsetof(stele_peer, size) is frozen");
_Static_assert(offsetof(stele_peer, ctx) == 8, "offsetof(stele_peer, ctx) is frozen");
_Static_assert(offsetof(stele_peer, post) == 16, "offsetof(stele_peer, post) is frozen");
_Static_assert(sizeof(stele_descriptor) == 48, "sizeof(stele_descriptor) is frozen");
_Static_assert(_Alignof(stele_descriptor) == 8, "_Alignof(stele_descriptor) is frozen");
_Static_assert(offsetof(stele_descriptor, magic) == 0, "offsetof(stele_descriptor, magic) is frozen");
_Static_assert(offsetof(stele_descriptor, abi) == 4, "offsetof(stele_descriptor, abi) is frozen");
_Static_assert(offsetof(stele_descriptor, flags) == 6, "offsetof(stele_descriptor, flags) is frozen");
_Static_assert(offsetof(stele_descriptor, size) == 8, "offsetof(stele_descriptor, size) is frozen");
_Static_assert(offsetof(stele_descriptor, name) == 16, "offsetof(stele_descriptor, name) is frozen");
_Static_assert(offsetof(stele_descriptor, version) == 24, "offsetof(stele_descriptor, version) is frozen");
_Static_assert(offsetof(stele_descriptor, open) == 32, "offsetof(stele_descriptor, open) is frozen");
_Static_assert(offsetof(stele_descriptor, close) == 40, "offsetof(stele_descriptor, close) is frozen");
#endif

#endif
