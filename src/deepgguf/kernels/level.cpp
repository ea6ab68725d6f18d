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
    add_q2_k(table);
    add_q3_k(table);
    add_q4_0_q5_0(table);
    add_q4_1_q5_1(table);
    add_q4_k(table);
    add_q5_k(table);
    add_q6_k(table);
    add_q8_0(table);
    add_iq4(table);
    add_mxfp4(table);
    return table;
}

}  // namespace DEEPGGUF_LEVEL
}  // namespace deepgguf
