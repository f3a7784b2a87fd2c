// The kernels of one vector width: this file is compiled once for each, with the flags that `hatch_build.py` names.
//
// RECURDROP_ISA is the name of the width and of the table that this copy fills (see `kernels.h`). It turns a call's
// cell and type of number, known only at run time, into template arguments, and runs the result on a team of threads.
// All other code stands in an unnamed namespace, so that the linker can't mix the copies of different widths. With
// RECURDROP_NARROW the copy is for bfloat16 alone, and otherwise for float32 and float64.
#include "kernels.h"

#include "backward.h"
#include "normals.h"

namespace {

template <class Work>
bool launch(const Work& work, int threads, recurdrop::Launch on_threads) {
  struct Context {
    const Work& work;
    Barrier barrier;
  } context{work, {}};
  return on_threads(
      threads,
      [](void* p, int id, int size) {
        auto& c = *static_cast<Context*>(p);
        c.work.run(Team{id, size, &c.barrier});
      },
      &context);
}

// Call use(a number of the type, a cell) for the call's type and cell.
template <class Use>
auto select(const recurdrop_call& call, Use use) {
  const auto with = [&](auto number) {
    using T = decltype(number);
    switch (call.cell) {
      case RECURDROP_LSTM:
        return use(number, Lstm<T>{});
      case RECURDROP_GRU:
        return use(number, Gru<T>{});
      case RECURDROP_RNN_TANH:
        return use(number, Rnn<T, false>{});
      default:
        return use(number, Rnn<T, true>{});
    }
  };
#ifdef RECURDROP_NARROW
  return with(bfloat16{});
#else
  return call.type == RECURDROP_FLOAT64 ? with(double{}) : with(float{});
#endif
}

int64_t work_size(const recurdrop_call* call, bool backward) {
  return select(*call, [&](auto number, auto cell) {
    Arena arena{nullptr};
    if (backward)
      Backward<decltype(number), decltype(cell)>(*call, arena);
    else
      Forward<decltype(number), decltype(cell)>(*call, arena);
    return arena.used;
  });
}

bool forward(const recurdrop_call* call, recurdrop::Launch on_threads) {
  return select(*call, [&](auto number, auto cell) {
    Arena arena{static_cast<char*>(call->work)};
    const Forward<decltype(number), decltype(cell)> work(*call, arena);
    return launch(work, work.plan.threads, on_threads);
  });
}

bool backward(const recurdrop_call* call, recurdrop::Launch on_threads) {
  return select(*call, [&](auto number, auto cell) {
    Arena arena{static_cast<char*>(call->work)};
    const Backward<decltype(number), decltype(cell)> work(*call, arena);
    return launch(work, work.plan.threads, on_threads);
  });
}

bool keep_bits(uint64_t key, uint32_t stream, const int64_t* sizes, uint64_t threshold, uint8_t* out, int threads,
               recurdrop::Launch on_threads) {
  const KeepBits work{{key, stream, sizes}, threshold, out};
  return launch(work, threads, on_threads);
}

bool multipliers(uint64_t key, uint32_t stream, const int64_t* sizes, uint64_t threshold, double kept, int32_t type,
                 void* out, int threads, recurdrop::Launch on_threads) {
  const Stream from{key, stream, sizes};
  if (type == RECURDROP_FLOAT64)
    return launch(Multipliers<double>{from, threshold, kept, static_cast<double*>(out)}, threads, on_threads);
  return launch(Multipliers<float>{from, threshold, float(kept), static_cast<float*>(out)}, threads, on_threads);
}

bool normals(uint64_t key, uint32_t stream, const int64_t* sizes, double mean, double deviation, int32_t type,
             void* out, int threads, recurdrop::Launch on_threads) {
  const Stream from{key, stream, sizes};
  if (type == RECURDROP_FLOAT64)
    return launch(Normals<double>{from, mean, deviation, static_cast<double*>(out)}, threads, on_threads);
  return launch(Normals<float>{from, float(mean), float(deviation), static_cast<float*>(out)}, threads, on_threads);
}

}  // namespace

#define RECURDROP_TEXT(x) #x
#define RECURDROP_NAME(x) RECURDROP_TEXT(x)
namespace recurdrop {
extern const Kernels RECURDROP_ISA;
const Kernels RECURDROP_ISA = {RECURDROP_NAME(RECURDROP_ISA), work_size, forward, backward, keep_bits,
                               multipliers, normals};
}  // namespace recurdrop
