#include "families.hpp"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

Table table() {
    Table table = {};
    table.name = TEXT(DEEPGGUF_LEVEL);
    table.lanes = DEEPGGUF_LANES;
    add_casts(table);
    add_fp8(table);
#define TYPE(...)
#define QUANTIZED(name, ...) add_##name(table);
#include "types.def"
    return table;
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
