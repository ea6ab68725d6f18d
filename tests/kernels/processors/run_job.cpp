// One level of kernels outside of Python, for a processor that this machine has not. A job comes from compare_processors.py.
//
// With HOSTED it is a program for an emulator of user programs: jobs on standard input, results on standard output.
// Without, it needs no system: the job lies where the first argument's register points, and the processor halts behind it.
#include "table.hpp"

namespace deepgguf {
namespace DEEPGGUF_LEVEL { Table table(); }

enum What : int64_t { CAST, FP8, QUANTIZE };

struct Job {
    int64_t what, from, to, rows, cols, row0, scale_cols, block_rows, block_cols, src_bytes, more_bytes, dst_bytes;
    const void * src;
    const float * more;  // scales of FP8, importance of a quantizer
    void * dst;
    Counts counts;
};

static void carry_out(Job & job) {
    static Table table;
    table = DEEPGGUF_LEVEL::table();
    job.counts = {};
    if (job.what == CAST) {
        table.cast[job.from][job.to](job.src, job.dst, job.rows * job.cols, job.counts);
    } else if (job.what == FP8) {
        table.fp8[job.to]({static_cast<const uint8_t *>(job.src), job.rows, job.cols, job.row0, job.more, job.scale_cols,
                           job.block_rows, job.block_cols}, job.dst, job.counts);
    } else {
        const float * importance = job.more_bytes ? job.more : nullptr;
        table.quantize[job.to](static_cast<const float *>(job.src), job.dst, job.rows, job.cols, importance);
    }
}

}  // namespace deepgguf

#ifdef HOSTED

#include <cstdio>
#include <vector>

int main() {
    deepgguf::Job job = {};
    while (fread(&job, 1, 12 * 8, stdin) == 12 * 8) {
        std::vector<char> src(job.src_bytes), more(job.more_bytes), dst(job.dst_bytes);
        if (fread(src.data(), 1, src.size(), stdin) != src.size()) return 1;
        if (fread(more.data(), 1, more.size(), stdin) != more.size()) return 1;
        job.src = src.data(), job.more = reinterpret_cast<const float *>(more.data()), job.dst = dst.data();
        deepgguf::carry_out(job);
        fwrite(dst.data(), 1, dst.size(), stdout);
        fwrite(&job.counts, 1, sizeof job.counts, stdout);
    }
}

#else

extern "C" {

// The compiler calls these. (volatile, or it would make each of them call itself.)
void * memcpy(void * to, const void * from, size_t n) {
    for (size_t i = 0; i < n; i++) static_cast<volatile char *>(to)[i] = static_cast<const char *>(from)[i];
    return to;
}

void * memset(void * to, int value, size_t n) {
    for (size_t i = 0; i < n; i++) static_cast<volatile char *>(to)[i] = static_cast<char>(value);
    return to;
}

void run(deepgguf::Job * job) { deepgguf::carry_out(*job); }
}

asm(".globl _start\n_start: call run\nhlt\n");

#endif
