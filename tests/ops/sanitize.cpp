// Runs the compiled core through its C interface, without Python, for a sanitizer to watch: all cells, masks, lengths,
// directions and optional arrays at odd sizes, on threads of its own. Exits with 0 if all results hold.
#include <math.h>
#include <sanitizer/common_interface_defs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "recurdrop.h"

namespace {

// What OpenMP gives the core, on std::thread: ThreadSanitizer doesn't understand the threads of libgomp.
thread_local int thread_number = 0, thread_count = 1;
unsigned most_threads = 99;
int launches = 0;

void parallel(void (*body)(void*), void* context, unsigned wanted, unsigned) {
  const int count = int(wanted < most_threads ? wanted : most_threads);
  const auto run = [=](int number) {
    thread_number = number;
    thread_count = count;
    body(context);
    thread_count = 1;
  };
  ++launches;
  std::vector<std::thread> others;
  for (int number = 1; number < count; ++number) others.emplace_back(run, number);
  run(0);
  for (auto& other : others) other.join();
}

enum { NO_MASKS, OWN_MASKS, SHARED_MASKS, GATED_MASKS };  // own: of every step, example and unit
enum { BIASES = 1, D_H = 2, D_C = 4, D_H_N = 8, D_C_N = 16, D_X = 32, D_WEIGHTS = 64, KEEP_GATES = 128 };
struct Case {
  recurdrop_call call;  // only its first numbers: cell, type, direction and sizes
  int masks;
  bool ragged, projects, large;  // large: several threads are worth it
  unsigned options;
} now;

void tell() {
  const auto& c = now.call;
  fprintf(stderr, "%s: cell %d, type %d, reverse %d, threads %d, T %d, B %d, I %d, H %d, P %d, ", recurdrop_vector(),
          c.cell, c.type, c.reverse, c.threads, int(c.time), int(c.batch), int(c.input), int(c.hidden), int(c.state));
  fprintf(stderr, "masks %d, ragged %d, projects %d, large %d, options 0x%x\n", now.masks, now.ragged, now.projects,
          now.large, now.options & 0xff);
}
void require(bool holds, const std::string& what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what.c_str());
  tell();
  _Exit(1);
}

std::mt19937 random_bits(1);
int64_t below(int64_t n) { return int64_t(random_bits() % uint64_t(n)); }

// Exactly so many bytes, all ones at first: NaN as numbers, negative as indices.
struct Free {
  void operator()(void* p) const { free(p); }
};
using Memory = std::unique_ptr<void, Free>;
Memory memory(int64_t bytes, size_t alignment = 16) {
  void* p = nullptr;
  require(posix_memalign(&p, alignment, size_t(bytes)) == 0, "out of memory");
  return Memory(memset(p, 0xff, size_t(bytes)));
}

// The upper half of a float, cut off.
struct bfloat16 {
  uint16_t bits;
  bfloat16() = default;
  explicit bfloat16(double x) {
    const float narrow = float(x);
    memcpy(&bits, reinterpret_cast<const char*>(&narrow) + 2, 2);
  }
  operator double() const {
    float x = 0;
    memcpy(reinterpret_cast<char*>(&x) + 2, &bits, 2);
    return double(x);
  }
};
// What gradients of weights and biases are made in, and how far results may be apart.
template <class T>
struct Of {
  using Total = T;
  static constexpr double apart = sizeof(T) == 4 ? 1e-5 : 1e-13;
};
template <>
struct Of<bfloat16> {
  using Total = float;
  static constexpr double apart = 0.05;
};

template <class T>
struct Array {
  using Total = typename Of<T>::Total;
  std::string name;
  int64_t size, row;  // row: numbers of one (t, b), or 0 if it is not of steps
  bool total;         // holds Total
  Memory memory;
  int64_t bytes() const { return size * int64_t(total ? sizeof(Total) : sizeof(T)); }
  double at(int64_t i) const {
    return total ? double(static_cast<const Total*>(memory.get())[i]) : double(static_cast<const T*>(memory.get())[i]);
  }
};
template <class T>
using Arrays = std::vector<Array<T>>;

template <class T>
class Layer {
 public:
  Layer() : call(now.call), T_(call.time), B(call.batch), I(call.input), H(call.hidden), P(call.state) {
    for (int64_t b = 0; b < B; ++b) lengths.push_back(!now.ragged || b == 1 ? T_ : b == 2 ? 0 : below(T_ + 1));
    if (now.ragged) call.lengths = static_cast<int64_t*>(memcpy(hold(B * 8), lengths.data(), size_t(B) * 8));
    const double small = 1 / sqrt(double(P));
    const bool biases = now.options & BIASES;
    call.x = steps(I);
    call.h0 = numbers(B * P, -1, 1);
    call.c0 = lstm ? numbers(B * H, -1, 1) : nullptr;
    call.w_ih = numbers(gates * H * I, -small, small);
    call.w_hh = numbers(gates * H * P, -small, small);
    call.b_ih = biases ? numbers(gates * H, -small, small) : nullptr;
    call.b_hh = biases ? numbers(gates * H, -small, small) : nullptr;
    call.w_hr = now.projects ? numbers(P * H, -small, small) : nullptr;
    call.d_h = now.options & D_H ? steps(P) : nullptr;
    call.d_c = lstm && now.options & D_C ? steps(H) : nullptr;
    call.d_h_n = now.options & D_H_N ? numbers(B * P, -1, 1) : nullptr;
    call.d_c_n = lstm && now.options & D_C_N ? numbers(B * H, -1, 1) : nullptr;
    if (now.masks == NO_MASKS) return;
    call.mask_input = mask(I, now.masks == GATED_MASKS, false);
    call.mask_recurrent = mask(P, now.masks == GATED_MASKS, false);
    call.mask_zone_h = mask(P, false, true);
    call.mask_detach = mask(P, false, false);
    if (lstm || call.cell == RECURDROP_GRU) call.mask_candidate = mask(H, false, false);
    if (lstm) call.mask_cell = mask(H, false, false);
    if (lstm) call.mask_zone_c = mask(H, false, true);
  }

  // A forward and some backwards of it, which have to be the same: all that they made.
  Arrays<T> run(int threads, int backwards, bool keep_gates) {
    Arrays<T> made;
    const auto out = [&](const char* name, int64_t size, bool wanted = true, int64_t row = 0) -> void* {
      if (!wanted) return nullptr;
      const bool total = !strncmp(name, "d_w", 3) || !strncmp(name, "d_b", 3);
      made.push_back({name, size, row, total, nullptr});
      made.back().memory = memory(made.back().bytes());
      return made.back().memory.get();
    };
    const bool weights = now.options & D_WEIGHTS, biases = weights && now.options & BIASES;
    const Memory saved = memory(T_ * B * (gates == 1 ? 1 : 4) * H * int64_t(sizeof(T)));
    call.threads = now.call.threads = threads;
    call.h = out("h", T_ * B * P, true, P);
    call.c = out("c", T_ * B * H, lstm, H);
    call.gates = keep_gates ? saved.get() : nullptr;
    call.h_n = out("h_n", B * P);
    call.c_n = out("c_n", B * H, lstm);
    launch(recurdrop_forward, 0);
    const size_t forward = made.size();
    for (int i = 0; i < backwards; ++i) {
      call.d_x = out("d_x", T_ * B * I, now.options & D_X, I);
      call.d_h0 = out("d_h0", B * P);
      call.d_c0 = out("d_c0", B * H, lstm);
      call.d_w_ih = out("d_w_ih", gates * H * I, weights);
      call.d_w_hh = out("d_w_hh", gates * H * P, weights);
      call.d_b_ih = out("d_b_ih", gates * H, biases);
      call.d_b_hh = out("d_b_hh", gates * H, biases);
      call.d_w_hr = out("d_w_hr", P * H, weights && now.projects);
      launch(recurdrop_backward, 1);
    }
    for (const auto& array : made) check(array);
    const size_t backward = (made.size() - forward) / size_t(backwards);
    for (size_t i = forward; i + backward < made.size(); ++i) same(made[i], made[i + backward], "a second backward");
    made.resize(forward + backward);
    return made;
  }

  static void same(const Array<T>& a, const Array<T>& b, const char* what) {
    require(!memcmp(a.memory.get(), b.memory.get(), size_t(a.bytes())), a.name + " is not the same again by " + what);
  }

 private:
  void launch(void (*function)(const recurdrop_call*), int backward) {
    const Memory work = memory(recurdrop_work_size(&call, backward), 64);
    call.work = work.get();
    const int before = launches;
    function(&call);
    require(!now.large || launches == before + (call.threads > 1), "several threads were expected at this size");
  }
  void check(const Array<T>& array) const {
    for (int64_t i = 0; i < array.size; ++i) {
      const double x = array.at(i);
      const bool past = array.row && i / array.row / B >= lengths[size_t(i / array.row % B)];
      require(isfinite(x), array.name + " is not written, or not finite, at " + std::to_string(i));
      require(!past || x == 0, array.name + " is not 0 past a length, at " + std::to_string(i));
    }
  }

  void* hold(int64_t bytes) {
    held.push_back(memory(bytes));
    return held.back().get();
  }
  T* numbers(int64_t size, double least, double most) {
    T* p = static_cast<T*>(hold(size * int64_t(sizeof(T))));
    for (int64_t i = 0; i < size; ++i) p[i] = T(least + (most - least) * double(below(1 << 20)) / (1 << 20));
    return p;
  }
  // (T, B, width); NaN past an example's length, which must not get anywhere.
  T* steps(int64_t width) {
    T* p = numbers(T_ * B * width, -1, 1);
    for (int64_t i = 0; i < T_ * B * width; ++i)
      if (i / width / B >= lengths[size_t(i / width % B)]) p[i] = T(NAN);
    return p;
  }
  recurdrop_mask mask(int64_t units, bool gated, bool zone) {
    int64_t sizes[] = {T_, B, gated ? gates : 1, units}, strides[4], size = 1;
    for (int axis = 3; axis >= 0; --axis) {
      if (now.masks == SHARED_MASKS && below(2)) sizes[axis] = 1;
      strides[axis] = sizes[axis] > 1 ? size : 0;
      size *= sizes[axis];
    }
    const bool bytes = zone ? now.masks != SHARED_MASKS : below(2);
    void* data = bytes ? hold(size) : numbers(size, 0, zone ? 1 : 1.5);
    for (int64_t i = 0; i < size; ++i)
      if (bytes) static_cast<uint8_t*>(data)[i] = uint8_t(below(2));
      else if (!below(3)) static_cast<T*>(data)[i] = T(0);
    return {data, strides[0], strides[1], strides[2], strides[3], bytes, gated && gates > 1};
  }

  recurdrop_call call;
  int64_t T_, B, I, H, P;
  bool lstm = call.cell == RECURDROP_LSTM;
  int64_t gates = lstm ? 4 : call.cell == RECURDROP_GRU ? 3 : 1;
  std::vector<int64_t> lengths;
  std::vector<Memory> held;
};

double farthest[3];

// The case `now` with 1, 2 and 3 threads, with fewer than asked for, and with the gates computed again.
template <class T>
void check() {
  Layer<T> layer;
  const bool keep = now.options & KEEP_GATES;
  const Arrays<T> alone = layer.run(1, 2, keep);
  const auto agrees = [&](const Arrays<T>& other, const char* what) {
    for (size_t k = 0; k < alone.size(); ++k) {
      double apart = 0, greatest = 1e-30;
      for (int64_t i = 0; i < alone[k].size; ++i) {
        apart = fmax(apart, fabs(alone[k].at(i) - other[k].at(i)));
        greatest = fmax(greatest, fabs(alone[k].at(i)));
      }
      farthest[now.call.type] = fmax(farthest[now.call.type], apart / greatest);
      require(apart / greatest < Of<T>::apart, alone[k].name + " differs with " + what);
    }
  };
  const auto repeats = [](const Arrays<T>& once, const Arrays<T>& again, const char* what) {
    for (size_t k = 0; k < once.size(); ++k) Layer<T>::same(once[k], again[k], what);
  };
  if (!keep) agrees(layer.run(1, 1, true), "saved gates");
  for (int threads = now.large ? 2 : 3; threads <= 3; ++threads) {
    const int before = launches;
    const Arrays<T> once = layer.run(threads, 1, keep);
    agrees(once, "several threads");
    if (launches > before) repeats(once, layer.run(threads, 1, keep), "a second run");
  }
  if (!now.large) return;
  most_threads = 2;
  repeats(alone, layer.run(3, 1, keep), "a run on fewer threads than asked for");
  most_threads = 99;
}

void check_random_numbers() {
  const int64_t sizes[] = {3, 5, 2, 67}, size = 3 * 5 * 2 * 67;
  for (int kind = 0; kind < 3; ++kind) {
    const int64_t bytes = kind == 0 ? size : kind == 1 ? 4 * size : 8 * size;
    const Memory drawn[] = {memory(bytes), memory(bytes), memory(bytes)};
    for (int i = 0; i < 3; ++i) {
      most_threads = i == 2 ? 2 : 99;
      const int threads = i ? 3 : 1;
      if (kind == 0)
        recurdrop_keep_bits(42, 7, sizes, uint64_t(1) << 31, static_cast<uint8_t*>(drawn[i].get()), threads);
      else
        recurdrop_normals(42, 7, sizes, 1, 2, kind == 1 ? RECURDROP_FLOAT32 : RECURDROP_FLOAT64, drawn[i].get(), threads);
      require(!memcmp(drawn[i].get(), drawn[0].get(), size_t(bytes)), "random numbers differ between threads");
    }
  }
  most_threads = 99;
}

int64_t pick(std::initializer_list<int64_t> from) { return from.begin()[below(int64_t(from.size()))]; }

}  // namespace

int main() {
  __sanitizer_set_death_callback(tell);
  recurdrop_use_openmp(reinterpret_cast<void*>(parallel), reinterpret_cast<void*>(+[] { return thread_number; }),
                       reinterpret_cast<void*>(+[] { return thread_count; }));
  check_random_numbers();
  int cases = 0;
  for (int bits = 0; bits < 1 << 9; ++bits) {
    const auto bit = [bits](int i) { return bits >> i & 1; };
    const bool few_rows = bit(8);
    now = {};
    auto& c = now.call;
    c.cell = bits & 3;
    now.masks = bits >> 2 & 3;
    c.type = bit(4);
    c.reverse = bit(6);
    now.ragged = bit(5);
    now.large = bit(7);
    if (!now.large && few_rows) continue;
    // Of the large ones, a part that has every pair of choices.
    const bool left_out = bit(4) ^ bit(0) ^ bit(2) ^ bit(8) || bit(5) ^ bit(1) ^ bit(3) || bit(6) ^ bit(0) ^ bit(3);
    if (now.large && left_out) continue;
    now.options = unsigned(random_bits());
    now.projects = c.cell == RECURDROP_LSTM && below(2);
    c.input = pick({1, 5});
    if (!now.large) {
      c.time = pick({1, 2, 9, 9, 50});
      c.batch = c.time == 50 ? 7 : pick({1, 7, 33});
      c.hidden = pick({1, 17, 50});
      c.state = now.projects ? pick({1, 3, 19}) : c.hidden;
    } else {  // rows enough to split, or so few that units are split; and steps enough for two chunks
      static const int64_t many[] = {17, 20, 33, 33}, few[] = {65, 75, 130, 130};
      const bool two_chunks = !few_rows || (c.cell == RECURDROP_LSTM && now.masks == GATED_MASKS) ||
                              (c.cell == RECURDROP_GRU && now.masks == NO_MASKS);
      c.batch = few_rows ? pick({7, 11}) : 33;
      c.time = two_chunks ? 320 / c.batch + 1 : 10;
      c.hidden = (few_rows ? few : many)[c.cell] + (now.projects ? 5 : 0);
      c.state = c.hidden - (now.projects ? 10 : 0);
    }
    std::string names = recurdrop_vectors();
    while (below(2) && names.find(' ') != names.npos) names.erase(0, names.find(' ') + 1);
    recurdrop_choose_vector(names.substr(0, names.find(' ')).c_str());
    ++cases;
    if (c.type == RECURDROP_FLOAT64) {
      check<double>();
      continue;
    }
    check<float>();
    if (!recurdrop_choose_vector("avx512") || !recurdrop_has_bfloat16()) continue;
    ++cases;
    c.type = RECURDROP_BFLOAT16;
    check<bfloat16>();
  }
  printf("%d cases, %d calls on several threads; apart by at most %.1e (float32), %.1e (float64), %.1e (bfloat16)\n",
         cases, launches, farthest[0], farthest[1], farthest[2]);
}
