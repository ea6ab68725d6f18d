// The entry of every family at this level. A family fills its places in the table.
#pragma once
#include "table.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL {

void add_casts(Table & table);
void add_fp8(Table & table);
void add_q2_k(Table & table);
void add_q3_k(Table & table);
void add_q4_0_q5_0(Table & table);
void add_q4_1_q5_1(Table & table);
void add_q4_k(Table & table);
void add_q5_k(Table & table);
void add_q6_k(Table & table);
void add_q8_0(Table & table);
void add_iq4(Table & table);
void add_mxfp4(Table & table);

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
