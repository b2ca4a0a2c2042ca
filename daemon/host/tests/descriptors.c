/* A library whose descriptor is wrong in the way it was compiled for: WRONG is null, magic, abi, size, name or open. */
#define STELE_BUILDING_PLUGIN
#include "stele_plugin.h"

static int32_t wrong_open(const stele_peer *host, stele_peer *plugin) {
    (void)host;
    (void)plugin;
    return STELE_OPEN_FAILED;
}

static void wrong_close(void *ctx) { (void)ctx; }

#define IS_NULL 1
#define IS_MAGIC 2
#define IS_ABI 3
#define IS_SIZE 4
#define IS_NAME 5
#define IS_OPEN 6

const stele_descriptor *stele_plugin_v1(void) {
    static const stele_descriptor descriptor = {
        WRONG == IS_MAGIC ? 0x12345678 : STELE_MAGIC,
        WRONG == IS_ABI ? 2 : STELE_ABI,
        0,
        WRONG == IS_SIZE ? 16 : sizeof descriptor,
        WRONG == IS_NAME ? 0 : "wrong",
        "0",
        wrong_open,
        wrong_close,
    };
    return WRONG == IS_NULL ? 0 : &descriptor;
}
