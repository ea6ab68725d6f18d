// The Python module: checks every size, lets go of the GIL, calls the chosen level.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "pack_mxfp4.hpp"
#include "point_sets.hpp"
#include "table.hpp"

namespace nb = nanobind;

namespace deepgguf {

#ifdef DEEPGGUF_HAS_sse2
namespace sse2 { Table table(); }
namespace avx2 { Table table(); }
namespace avx512 { Table table(); }
#endif
#ifdef DEEPGGUF_HAS_neon
namespace neon { Table table(); }
#endif
namespace wide { Table table(); }

namespace {

using In = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Result = std::tuple<int64_t, int64_t, int64_t>;

// Widest last.
std::vector<Table> levels() {
    std::vector<Table> found = {wide::table()};
#ifdef DEEPGGUF_HAS_neon
    found.push_back(neon::table());
#endif
#ifdef DEEPGGUF_HAS_sse2
    found.push_back(sse2::table());
    if (__builtin_cpu_supports("avx2")) found.push_back(avx2::table());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        found.push_back(avx512::table());
    }
#endif
    return found;
}

Table active = {};

std::string select_level(const std::string & name) {
    const std::vector<Table> found = levels();
    std::string names;
    for (const Table & level : found) {
        if (name == level.name) {
            active = level;
            return name;
        }
        names += std::string(names.empty() ? "" : ", ") + level.name;
    }
    throw std::invalid_argument("DEEPGGUF_SIMD: this machine has no level '" + name + "'; it has " + names);
}

struct Block {
    int64_t weights, bytes;
};

Block block_of(int type) {
    switch (type) {
#define TYPE(name, number, weights, bytes) case name: return {weights, bytes};
#include "types.def"
        default: throw std::invalid_argument("not a type of tensor: " + std::to_string(type));
    }
}

void require(bool holds, const char * what) {
    if (!holds) throw std::invalid_argument(what);
}

Result result(const Counts & counts) { return {counts.nan, counts.inf, counts.overflow}; }

Result cast(In src, int from, Out dst, int to) {
    const int64_t from_bytes = block_of(from).bytes, to_bytes = block_of(to).bytes;
    require(active.cast[from][to], "cast: no kernel for these types");
    const int64_t n = static_cast<int64_t>(src.size()) / from_bytes;
    require(n * from_bytes == static_cast<int64_t>(src.size()), "cast: source is not a whole number of elements");
    require(n * to_bytes == static_cast<int64_t>(dst.size()), "cast: destination has another number of elements");
    Counts counts;
    nb::gil_scoped_release release;
    active.cast[from][to](src.data(), dst.data(), n, counts);
    return result(counts);
}

Result fp8(In src, int64_t cols, int64_t row0, Floats scales, int64_t block_rows, int64_t block_cols, Out dst, int to) {
    const Block element = block_of(to);
    require(active.fp8[to], "fp8: no kernel for this type");
    require(cols > 0 && block_rows > 0 && block_cols > 0 && row0 >= 0, "fp8: sizes must be positive");
    const int64_t rows = static_cast<int64_t>(src.size()) / cols;
    const int64_t scale_cols = (cols + block_cols - 1) / block_cols;
    const int64_t scale_rows = rows ? (row0 + rows - 1) / block_rows - row0 / block_rows + 1 : 0;
    require(rows * cols == static_cast<int64_t>(src.size()), "fp8: source is no whole number of rows");
    require(scale_rows * scale_cols == static_cast<int64_t>(scales.size()), "fp8: wrong number of scales");
    require(rows * cols * element.bytes == static_cast<int64_t>(dst.size()), "fp8: destination has another size");
    Counts counts;
    nb::gil_scoped_release release;
    active.fp8[to]({src.data(), rows, cols, row0, scales.data(), scale_cols, block_rows, block_cols}, dst.data(), counts);
    return result(counts);
}

void quantize(Floats src, int64_t cols, int type, std::optional<Floats> importance, Out dst, int64_t row_bytes) {
    const Block block = block_of(type);
    require(active.quantize[type], "quantize: no kernel for this type");
    require(cols > 0 && static_cast<int64_t>(src.size()) % cols == 0, "quantize: source is no whole number of rows");
    const int64_t rows = static_cast<int64_t>(src.size()) / cols;
    require(cols % block.weights == 0 && row_bytes == cols / block.weights * block.bytes,
            "quantize: a row is no whole number of blocks, or its bytes are others");
    require(rows * row_bytes == static_cast<int64_t>(dst.size()), "quantize: destination has another size");
    require(importance || !active.needs_importance[type], "quantize: this type needs importance");
    require(!importance || static_cast<int64_t>(importance->size()) == cols, "quantize: one importance weight per column");
    nb::gil_scoped_release release;
    active.quantize[type](src.data(), dst.data(), rows, cols, importance ? importance->data() : nullptr);
}

void mxfp4(In codes, In scales, Out dst) {
    const int64_t blocks = static_cast<int64_t>(scales.size());
    require(blocks * MXFP4_CODES == static_cast<int64_t>(codes.size()), "mxfp4: not 16 bytes of codes for each scale");
    require(blocks * MXFP4_BLOCK == static_cast<int64_t>(dst.size()), "mxfp4: destination has another size");
    nb::gil_scoped_release release;
    pack_mxfp4(codes.data(), scales.data(), dst.data(), blocks);
}

template <size_t N> nb::bytes bytes_of(const uint64_t (&words)[N]) {
    return nb::bytes(reinterpret_cast<const char *>(words), sizeof words);
}

nb::bytes points(int type) {
    switch (type) {
        case IQ1_S:
        case IQ1_M: return bytes_of(IQ1_POINTS);
        case IQ2_XXS: return bytes_of(IQ2_XXS_POINTS);
        case IQ2_XS: return bytes_of(IQ2_XS_POINTS);
        case IQ2_S: return bytes_of(IQ2_S_POINTS);
        case IQ3_XXS: return bytes_of(IQ3_XXS_POINTS);
        case IQ3_S: return bytes_of(IQ3_S_POINTS);
        default: throw std::invalid_argument("points: not a type with points");
    }
}

}  // namespace
}  // namespace deepgguf

NB_MODULE(_kernels, m) {
    using namespace deepgguf;
    const char * forced = std::getenv("DEEPGGUF_SIMD");
    select_level(forced && *forced ? forced : levels().back().name);
    nb::enum_<Type> types(m, "GGMLType", nb::is_arithmetic(), "Every type of tensor that ggml has (ggml.h, enum ggml_type).");
#define TYPE(name, ...) types.value(#name, name);
#include "types.def"
    m.def("block_of", [](int type) {
        const Block block = block_of(type);
        return std::make_tuple(block.weights, block.bytes);
    }, nb::arg("type"));
    m.def("levels", [] {
        std::vector<std::string> names;
        for (const Table & level : levels()) names.push_back(level.name);
        return names;
    });
    m.def("select", &select_level, nb::arg("level"));
    m.def("active", [] { return std::string(active.name); });
    m.def("cast", &cast, nb::arg("src"), nb::arg("from_type"), nb::arg("dst").noconvert(), nb::arg("to_type"));
    m.def("fp8", &fp8, nb::arg("src"), nb::arg("cols"), nb::arg("row0"), nb::arg("scales"), nb::arg("block_rows"),
          nb::arg("block_cols"), nb::arg("dst").noconvert(), nb::arg("to_type"));
    m.def("points", &points, nb::arg("type"));
    m.def("quantize", &quantize, nb::arg("src"), nb::arg("cols"), nb::arg("type"), nb::arg("importance").none(),
          nb::arg("dst").noconvert(), nb::arg("row_bytes"));
    m.def("mxfp4", &mxfp4, nb::arg("codes"), nb::arg("scales"), nb::arg("dst").noconvert());
}
