// The table of functions that one vector width offers to `core.cpp`.
//
// `kernels.cpp` is compiled once for each vector width with that width's compiler flags, and each copy fills one of
// these tables. `core.cpp`, which is compiled without such flags, asks the processor what it can run and calls through
// the table, so that no instruction of a width is executed on a processor that lacks it.
#pragma once
#include "recurdrop.h"

namespace recurdrop {

// Run body(context, thread, threads) on `threads` threads; false, and nothing has run, if there are not so many.
using Launch = bool (*)(int threads, void (*body)(void*, int, int), void* context);

struct Kernels {
  const char* name;
  int64_t (*work_size)(const recurdrop_call*, bool backward);
  bool (*forward)(const recurdrop_call*, Launch);
  bool (*backward)(const recurdrop_call*, Launch);
  bool (*keep_bits)(uint64_t key, uint32_t stream, const int64_t* sizes, uint64_t threshold, uint8_t* out, int threads,
                    Launch);
  bool (*multipliers)(uint64_t key, uint32_t stream, const int64_t* sizes, uint64_t threshold, double kept,
                      int32_t type, void* out, int threads, Launch);
  bool (*normals)(uint64_t key, uint32_t stream, const int64_t* sizes, double mean, double deviation, int32_t type,
                  void* out, int threads, Launch);
};

extern const Kernels plain, avx2, avx512, neon;
extern const Kernels avx512_bf16;  // of bfloat16 alone, beside those of avx512

}  // namespace recurdrop
