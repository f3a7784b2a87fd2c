// The C interface of the compiled core.
//
// The core computes one recurrent layer in one direction over a whole sequence, forward and backward, with masks at
// the input and at every site inside the time loop; and it fills arrays with the project's random numbers. A call is
// described by one struct of plain numbers, pointers and strides. There is no header of Python or of torch here, so
// that the library builds in seconds, one binary serves every version of both, and `library.py` loads it with ctypes.
//
// The caller owns all memory. Arrays are contiguous and time comes first, as torch lays them out: (T, B, features).
// Only masks have strides, because most of them are shared over time, batch or gates, and a stride of 0 says so
// without a copy. The caller asks `recurdrop_work_size` for the bytes of scratch memory, allocates them (torch's
// allocator does it fast) and passes them as `work`; the core itself never allocates.
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define RECURDROP_EXPORT __declspec(dllexport)
#else
#define RECURDROP_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { RECURDROP_LSTM, RECURDROP_GRU, RECURDROP_RNN_TANH, RECURDROP_RNN_RELU };
enum { RECURDROP_FLOAT32, RECURDROP_FLOAT64, RECURDROP_BFLOAT16 };

// A mask, or none where data is null. A stride of 0 shares the axis; the stride of units is 0 or 1.
typedef struct {
  const void* data;
  int64_t time, batch, gate, unit;  // strides in elements
  int32_t bytes;                    // elements are bytes that hold 0 or 1, instead of numbers of the call's type
  int32_t gated;                    // has a gate axis
} recurdrop_mask;

// One layer in one direction. Arrays are contiguous, time first; T: time, B: batch, I: input, H: hidden, P: state,
// G: gates in torch's order, S: saved values a unit (4 for LSTM and GRU, else 1). Optional arrays may be null. All hold
// numbers of the call's type, but for the gradients of weights and biases in a call of bfloat16, which are float32.
typedef struct {
  int32_t cell, type, reverse, threads;
  int64_t time, batch, input, hidden, state;
  const int64_t* lengths;  // (B), each in [0, T]; optional
  const void *x;           // (T, B, I)
  const void *h0, *c0;     // (B, P), (B, H)
  const void *w_ih, *w_hh; // (G·H, I), (G·H, P)
  const void *b_ih, *b_hh; // (G·H); optional
  const void *w_hr;        // (P, H); optional
  recurdrop_mask mask_input, mask_recurrent, mask_candidate, mask_cell, mask_zone_c, mask_zone_h, mask_detach;
  // Made by forward, read by backward.
  void *h, *c;  // (T, B, P), (T, B, H); 0 past an example's length
  void *gates;  // (T, B, S·H); without it forward saves no gates, and backward computes them again
  void *h_n, *c_n;
  // Gradients given to backward; each optional.
  const void *d_h, *d_c, *d_h_n, *d_c_n;
  // Gradients made by backward; d_x and those of weights are optional.
  void *d_x, *d_h0, *d_c0, *d_w_ih, *d_w_hh, *d_b_ih, *d_b_hh, *d_w_hr;
  void* work;  // recurdrop_work_size bytes, aligned to 64
} recurdrop_call;

// Bytes of a recurdrop_call, by which a caller tells a library of another layout.
RECURDROP_EXPORT int32_t recurdrop_call_size(void);

// Bytes of `work` that a forward (or backward) needs.
RECURDROP_EXPORT int64_t recurdrop_work_size(const recurdrop_call* call, int32_t backward);
RECURDROP_EXPORT void recurdrop_forward(const recurdrop_call* call);
RECURDROP_EXPORT void recurdrop_backward(const recurdrop_call* call);

// Philox4x32-10: bits (bytes 0 or 1), true where the integer of element (t, b, g, u) is at least `threshold`.
RECURDROP_EXPORT void recurdrop_keep_bits(uint64_t key, uint32_t stream, const int64_t sizes[4], uint64_t threshold,
                                          uint8_t* out, int32_t threads);
// The same bits as multipliers of a type: `kept` where true, else 0.
RECURDROP_EXPORT void recurdrop_multipliers(uint64_t key, uint32_t stream, const int64_t sizes[4], uint64_t threshold,
                                            double kept, int32_t type, void* out, int32_t threads);
// Normal numbers of a type from the same integers.
RECURDROP_EXPORT void recurdrop_normals(uint64_t key, uint32_t stream, const int64_t sizes[4], double mean,
                                        double deviation, int32_t type, void* out, int32_t threads);

// The vector widths that were compiled and that this processor runs, best first, as names separated by spaces.
RECURDROP_EXPORT const char* recurdrop_vectors(void);
// The one in use.
RECURDROP_EXPORT const char* recurdrop_vector(void);
// Choose one by name; returns 0 if there is none of that name.
RECURDROP_EXPORT int32_t recurdrop_choose_vector(const char* name);
// Whether the one in use has kernels of bfloat16; a call of that type needs them.
RECURDROP_EXPORT int32_t recurdrop_has_bfloat16(void);
// The OpenMP runtime to borrow threads from: GOMP_parallel, omp_get_thread_num, omp_get_num_threads.
RECURDROP_EXPORT void recurdrop_use_openmp(void* parallel, void* thread_number, void* threads);

#ifdef __cplusplus
}
#endif
