// The exported functions of the core (see `recurdrop.h`): they choose a vector width and borrow threads.
//
// The width is the best that was compiled and that this processor and its operating system support;
// `recurdrop_choose_vector` takes another, for tests. Threads are those of the OpenMP runtime that torch has loaded,
// whose functions `library.py` hands over as pointers; the core is linked with none. Such a runtime may give fewer
// threads than were asked for, and the work is divided among a known number, so in that case nothing is computed and
// the call is repeated on one thread.
#include "kernels.h"

#include <string.h>
#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

#if defined(RECURDROP_HAVE_AVX512) && defined(RECURDROP_HAVE_AVX512_BF16)
#define HAVE_BFLOAT16
#endif

using namespace recurdrop;

namespace {

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#ifdef HAVE_BFLOAT16
bool has_avx512_bf16() { return __builtin_cpu_supports("avx512bf16"); }
#endif
#elif defined(_MSC_VER) && defined(_M_X64)
bool cpuid_bit(int leaf, int reg, int bit) {
  int r[4];
  __cpuidex(r, leaf, 0);
  return (r[reg] >> bit) & 1;
}
// The operating system keeps the wide registers: bits of XCR0.
bool keeps(unsigned long long bits) { return cpuid_bit(1, 2, 27) && (_xgetbv(0) & bits) == bits; }
bool has_avx2() { return keeps(0x6) && cpuid_bit(7, 1, 5) && cpuid_bit(1, 2, 12); }
bool has_avx512() {
  return has_avx2() && keeps(0xe6) && cpuid_bit(7, 1, 16) && cpuid_bit(7, 1, 30) && cpuid_bit(7, 1, 17) &&
         cpuid_bit(7, 1, 31);
}
#endif

// The widths that this processor runs, best first; a null pointer ends them.
const Kernels* const* widths() {
  static const Kernels* found[5];
  if (found[0]) return found;
  int n = 0;
#ifdef RECURDROP_HAVE_AVX512
  if (has_avx512()) found[n++] = &avx512;
#endif
#ifdef RECURDROP_HAVE_AVX2
  if (has_avx2()) found[n++] = &avx2;
#endif
#ifdef RECURDROP_HAVE_NEON
  found[n++] = &neon;
#endif
  found[n] = &plain;
  return found;
}

const Kernels* chosen = nullptr;
const Kernels& kernels() { return chosen ? *chosen : *widths()[0]; }

// The kernels of bfloat16 that go with the width in use, or null.
const Kernels* of_bfloat16() {
#ifdef HAVE_BFLOAT16
  if (&kernels() == &avx512 && has_avx512_bf16()) return &avx512_bf16;
#endif
  return nullptr;
}
const Kernels& kernels_of(const recurdrop_call& call) {
  return call.type == RECURDROP_BFLOAT16 ? *of_bfloat16() : kernels();
}

// The runtime whose threads are borrowed; without one there is one thread.
void (*openmp_parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
int (*openmp_thread)() = nullptr;
int (*openmp_threads)() = nullptr;

struct Parallel {
  void (*body)(void*, int, int);
  void* context;
  int threads;
  bool ran;
};

void on_thread(void* p) {
  auto& parallel = *static_cast<Parallel*>(p);
  const int id = openmp_thread(), threads = openmp_threads();
  if (threads != parallel.threads) return;
  parallel.body(parallel.context, id, threads);
  if (id == 0) parallel.ran = true;
}

bool launch(int threads, void (*body)(void*, int, int), void* context) {
  if (threads == 1) {
    body(context, 0, 1);
    return true;
  }
  if (!openmp_parallel) return false;
  Parallel parallel{body, context, threads, false};
  openmp_parallel(on_thread, &parallel, unsigned(threads), 0);
  return parallel.ran;
}

}  // namespace

int32_t recurdrop_call_size(void) { return sizeof(recurdrop_call); }

int64_t recurdrop_work_size(const recurdrop_call* call, int32_t backward) {
  return kernels_of(*call).work_size(call, backward != 0);
}

void recurdrop_forward(const recurdrop_call* call) {
  if (kernels_of(*call).forward(call, launch)) return;
  recurdrop_call alone = *call;
  alone.threads = 1;
  kernels_of(alone).forward(&alone, launch);
}

void recurdrop_backward(const recurdrop_call* call) {
  if (kernels_of(*call).backward(call, launch)) return;
  recurdrop_call alone = *call;
  alone.threads = 1;
  kernels_of(alone).backward(&alone, launch);
}

void recurdrop_keep_bits(uint64_t key, uint32_t stream, const int64_t sizes[4], uint64_t threshold, uint8_t* out,
                         int32_t threads) {
  if (!kernels().keep_bits(key, stream, sizes, threshold, out, threads, launch))
    kernels().keep_bits(key, stream, sizes, threshold, out, 1, launch);
}

void recurdrop_multipliers(uint64_t key, uint32_t stream, const int64_t sizes[4], uint64_t threshold, double kept,
                           int32_t type, void* out, int32_t threads) {
  if (!kernels().multipliers(key, stream, sizes, threshold, kept, type, out, threads, launch))
    kernels().multipliers(key, stream, sizes, threshold, kept, type, out, 1, launch);
}

void recurdrop_normals(uint64_t key, uint32_t stream, const int64_t sizes[4], double mean, double deviation,
                       int32_t type, void* out, int32_t threads) {
  if (!kernels().normals(key, stream, sizes, mean, deviation, type, out, threads, launch))
    kernels().normals(key, stream, sizes, mean, deviation, type, out, 1, launch);
}

const char* recurdrop_vectors(void) {
  static char names[64];
  if (!names[0])
    for (int i = 0; widths()[i]; ++i) {
      if (i) strcat(names, " ");
      strcat(names, widths()[i]->name);
    }
  return names;
}

const char* recurdrop_vector(void) { return kernels().name; }

int32_t recurdrop_choose_vector(const char* name) {
  for (int i = 0; widths()[i]; ++i)
    if (!strcmp(widths()[i]->name, name)) {
      chosen = widths()[i];
      return 1;
    }
  return 0;
}

int32_t recurdrop_has_bfloat16(void) { return of_bfloat16() != nullptr; }

void recurdrop_use_openmp(void* parallel, void* thread_number, void* threads) {
  openmp_parallel = reinterpret_cast<decltype(openmp_parallel)>(parallel);
  openmp_thread = reinterpret_cast<decltype(openmp_thread)>(thread_number);
  openmp_threads = reinterpret_cast<decltype(openmp_threads)>(threads);
}
