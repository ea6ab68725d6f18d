// The entry of every file of kernels at this level. It fills its places in the table.
#pragma once
#include "table.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

void add_casts(Table & table);
void add_fp8(Table & table);
#define TYPE(...)
#define QUANTIZED(name, ...) void add_##name(Table & table);
#include "types.def"

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
