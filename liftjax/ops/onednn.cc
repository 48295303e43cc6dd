// Convolutions by oneDNN and batch normalisation, as functions that XLA calls on a CPU.
//
// Maps lie as JAX has them, channels last; kernels as (height, width, channels in, channels out).
// `onednn_build.py` compiles this file and `onednn.py` makes JAX functions of it. `conv_cpu.py`,
// `depthwise.py` and `batch_norm.py` hold the same functions in JAX.
//
// XLA calls from several threads. One thread of this file does all the work with one OpenMP team,
// because a team for each caller would make more busy threads than cores. Callers wait for the
// result. If they were given a future instead, XLA would continue its program in the working
// thread, and a sum over devices there would wait forever for replicas that need this thread.

#include <dnnl.hpp>
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Integers = ffi::Span<const int64_t>;
using Map = ffi::Buffer<ffi::DataType::F32>;

// ---------------------------------------------------------------------------------------------
// The thread that works

class Worker {
 public:
  // In a forked process the threads of its parent are missing: it starts its own.
  static Worker& Get() {
    static const int registered = pthread_atfork(nullptr, nullptr, [] { instance = new Worker; });
    (void)registered;
    return *instance;
  }

  ffi::Error Run(const std::function<void()>& work) {
    Task task(work);
    std::unique_lock<std::mutex> lock(mutex_);
    if (!started_) std::thread([this] { Loop(); }).detach();
    started_ = true;
    tasks_.push_back(&task);
    waiting_.notify_one();
    task.ended.wait(lock, [&task] { return task.done; });
    return task.problem.empty() ? ffi::Error::Success()
                                : ffi::Error::Internal("oneDNN: " + task.problem);
  }

 private:
  struct Task {
    explicit Task(const std::function<void()>& work) : work(work) {}

    const std::function<void()>& work;
    bool done = false;
    std::string problem;
    std::condition_variable ended;
  };

  [[noreturn]] void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      waiting_.wait(lock, [this] { return !tasks_.empty(); });
      Task* task = tasks_.front();
      tasks_.pop_front();
      lock.unlock();
      try {
        task->work();
      } catch (const std::exception& error) {
        task->problem = error.what();
      }
      lock.lock();
      task->done = true;
      task->ended.notify_one();
    }
  }

  static Worker* instance;

  std::mutex mutex_;
  std::condition_variable waiting_;
  std::deque<Task*> tasks_;
  bool started_ = false;
};

Worker* Worker::instance = new Worker;  // never deleted: the thread outlives static objects

// ---------------------------------------------------------------------------------------------
// Convolutions

using dnnl::memory;

dnnl::engine& Engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& Stream() {
  static auto* stream = new dnnl::stream(Engine());
  return *stream;
}

constexpr auto kFloat = memory::data_type::f32;

bool Knows(dnnl::cpu_isa isa) {
  const auto known = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto needed = static_cast<unsigned>(isa);
  return (known & needed) == needed;
}

// The operand that is computed: its place among x, kernel and y.
enum class Kind : int64_t { kInputGradient, kKernelGradient, kOutput };

struct Shape {
  Kind kind;
  std::vector<int64_t> x, kernel, y, strides, padding, dilation;
  int64_t groups;

  std::vector<int64_t> Key() const {
    std::vector<int64_t> key = {static_cast<int64_t>(kind), groups};
    for (const auto* part : {&x, &kernel, &y, &strides, &padding, &dilation})
      key.insert(key.end(), part->begin(), part->end());
    return key;
  }
};

// A map or a kernel as JAX has it, and as the primitive reads or writes it.
class Operand {
 public:
  Operand() = default;
  Operand(const memory::desc& given, const memory::desc& fast, bool is_result, size_t& room)
      : given_(given), fast_(fast), is_result_(is_result), moves_(given != fast), start_(room) {
    if (!moves_) return;
    room += (fast.get_size() + kAlignment - 1) / kAlignment * kAlignment;
    const auto &from = is_result ? fast : given, &to = is_result ? given : fast;
    reorder_ = dnnl::reorder(dnnl::reorder::primitive_desc(Engine(), from, Engine(), to));
  }

  // What the primitive is given; `room` is where a reordered operand may lie.
  memory Before(void* data, char* room) const {
    const memory as_given(given_, Engine(), data);
    if (!moves_) return as_given;
    memory reordered(fast_, Engine(), room + start_);
    if (!is_result_) Reorder(as_given, reordered);
    return reordered;
  }

  void After(const memory& computed, void* data) const {
    if (moves_ && is_result_) Reorder(computed, memory(given_, Engine(), data));
  }

  static constexpr size_t kAlignment = 64;

 private:
  void Reorder(const memory& from, const memory& to) const {
    reorder_.execute(Stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  }

  memory::desc given_, fast_;
  bool is_result_ = false, moves_ = false;
  size_t start_ = 0;
  dnnl::primitive reorder_;
};

class Convolution {
 public:
  explicit Convolution(const Shape& shape) {
    const std::array<memory::desc, 3> given = {MapOf(shape.x), KernelOf(shape), MapOf(shape.y)};
    auto fast = given;
    const auto choose = [&](int i) {
      fast[i] = memory::desc(given[i].get_dims(), kFloat, memory::format_tag::any);
    };
    choose(1);
    // With AVX2 alone, kernel gradients are up to three times slower on channels that lie last.
    if (shape.kind == Kind::kKernelGradient && !Knows(dnnl::cpu_isa::avx512_core))
      choose(0), choose(2);
    memory::dims dilation;
    for (int64_t d : shape.dilation) dilation.push_back(d - 1);
    const auto direct = dnnl::algorithm::convolution_direct;
    const dnnl::convolution_forward::primitive_desc forward(
        Engine(), dnnl::prop_kind::forward_training, direct, fast[0], fast[1], fast[2],
        shape.strides, dilation, shape.padding, shape.padding);
    switch (shape.kind) {
      case Kind::kOutput:
        fast = {forward.src_desc(), forward.weights_desc(), forward.dst_desc()};
        arguments_ = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
        primitive_ = dnnl::convolution_forward(forward);
        break;
      case Kind::kInputGradient: {
        const dnnl::convolution_backward_data::primitive_desc made(
            Engine(), direct, fast[0], fast[1], fast[2], shape.strides, dilation, shape.padding,
            shape.padding, forward);
        fast = {made.diff_src_desc(), made.weights_desc(), made.diff_dst_desc()};
        arguments_ = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST};
        primitive_ = dnnl::convolution_backward_data(made);
        break;
      }
      case Kind::kKernelGradient: {
        const dnnl::convolution_backward_weights::primitive_desc made(
            Engine(), direct, fast[0], fast[1], fast[2], shape.strides, dilation, shape.padding,
            shape.padding, forward);
        fast = {made.src_desc(), made.diff_weights_desc(), made.diff_dst_desc()};
        arguments_ = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
        primitive_ = dnnl::convolution_backward_weights(made);
      }
    }
    for (int i = 0; i < 3; ++i)
      operands_[i] = Operand(given[i], fast[i], i == static_cast<int>(shape.kind), room_);
  }

  void Run(void* x, void* kernel, void* y, std::vector<char>& room) const {
    constexpr size_t alignment = Operand::kAlignment;
    if (room.size() < room_ + alignment) room.resize(room_ + alignment);
    char* start = room.data() + (-reinterpret_cast<uintptr_t>(room.data())) % alignment;
    void* const data[] = {x, kernel, y};
    memory memories[3];
    for (int i = 0; i < 3; ++i) memories[i] = operands_[i].Before(data[i], start);
    primitive_.execute(Stream(), {{arguments_[0], memories[0]},
                                  {arguments_[1], memories[1]},
                                  {arguments_[2], memories[2]}});
    for (int i = 0; i < 3; ++i) operands_[i].After(memories[i], data[i]);
    Stream().wait();
  }

 private:
  static memory::desc MapOf(const std::vector<int64_t>& s) {
    return {{s[0], s[3], s[1], s[2]}, kFloat, memory::format_tag::nhwc};
  }

  static memory::desc KernelOf(const Shape& shape) {
    const auto& k = shape.kernel;
    const int64_t pixel = k[2] * k[3], row = k[1] * pixel;
    if (shape.groups == 1)
      return {{k[3], k[2], k[0], k[1]}, kFloat, memory::dims{1, k[3], row, pixel}};
    const int64_t each = k[3] / shape.groups;
    return {{shape.groups, each, k[2], k[0], k[1]}, kFloat,
            memory::dims{each, 1, k[3], row, pixel}};
  }

  size_t room_ = 0;
  dnnl::primitive primitive_;
  std::array<int, 3> arguments_;
  std::array<Operand, 3> operands_;
};

// Called by the worker alone.
void Convolve(const Shape& shape, void* x, void* kernel, void* y) {
  static auto* made = new std::map<std::vector<int64_t>, std::unique_ptr<Convolution>>;
  static auto* room = new std::vector<char>;
  auto& convolution = (*made)[shape.Key()];
  if (!convolution) convolution = std::make_unique<Convolution>(shape);
  convolution->Run(x, kernel, y, *room);
}

std::vector<int64_t> Vector(Integers values) { return {values.begin(), values.end()}; }

template <Kind kind>
ffi::Error Conv(Map first, Map second, ffi::Result<Map> result, Integers strides, Integers padding,
                Integers dilation, int64_t groups) {
  const Map x = kind == Kind::kInputGradient ? *result : first;
  const Map y = kind == Kind::kOutput ? *result : second;
  const Map kernel = kind == Kind::kKernelGradient ? *result
                     : kind == Kind::kOutput       ? second
                                                   : first;
  return Worker::Get().Run([&] {
    const Shape shape = {kind, Vector(x.dimensions()), Vector(kernel.dimensions()),
                         Vector(y.dimensions()), Vector(strides), Vector(padding),
                         Vector(dilation), groups};
    Convolve(shape, x.typed_data(), kernel.typed_data(), y.typed_data());
  });
}

// ---------------------------------------------------------------------------------------------
// Batch normalisation: x of any number of rows, each of one number a channel

// e^x to 2 units in the last place, in a form that compilers vectorise. As in Cephes: x = n ln 2 +
// r with |r| <= ln 2 / 2, a polynomial of r, n added to the exponent.
inline float Exp(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to a whole number
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &exponent, sizeof power);
  return p * power;
}

enum class Activation : int64_t { kNone, kRelu, kSilu };

template <Activation activation>
inline float Activate(float z) {
  if (activation == Activation::kRelu) return z < 0 ? 0.0f : z;  // not a number stays so
  if (activation == Activation::kSilu) return z / (1 + Exp(-z));
  return z;
}

template <Activation activation>
inline float Slope(float z) {
  if (activation == Activation::kRelu) return z > 0 ? 1.0f : 0.0f;
  if (activation == Activation::kSilu) {
    const float gate = 1 / (1 + Exp(-z));
    return gate * (1 + z * (1 - gate));
  }
  return 1;
}

struct Channels {
  const float *mean, *var, *scale, *bias;
  int64_t count;
  float epsilon;

  float Inverse(int64_t c) const { return 1 / std::sqrt(var[c] + epsilon); }
};

// Calls work(first row, end, thread) on a share of the rows for each thread of the team.
template <typename Work>
void Share(int64_t rows, const Work& work) {
#pragma omp parallel
  {
    const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    work(rows * thread / threads, rows * (thread + 1) / threads, thread);
  }
}

// Rows of a block that stays in the first-level cache.
int64_t BlockRows(int64_t channels) { return std::max<int64_t>(4, 4096 / channels); }

// Mean and variance of each channel. Blocks are summed about their own means, and joined as in
// Chan et al., 1979: the map is read once, and the variance is exact wherever the mean is.
void Moments(const float* x, int64_t rows, int64_t channels, float* mean, float* var) {
  struct Sums {
    int64_t rows = 0;
    std::vector<double> mean, squares;
  };
  std::vector<Sums> shares(omp_get_max_threads());
  for (Sums& share : shares) share.mean.resize(channels), share.squares.resize(channels);
  const auto join = [channels](Sums& a, int64_t rows, const auto* mean, const auto* squares) {
    const double total = static_cast<double>(a.rows + rows), weight = rows / total;
    for (int64_t c = 0; c < channels; ++c) {
      const double distance = mean[c] - a.mean[c];
      a.mean[c] += distance * weight;
      a.squares[c] += squares[c] + distance * distance * weight * a.rows;
    }
    a.rows += rows;
  };
  Share(rows, [&](int64_t first, int64_t end, int64_t thread) {
    std::vector<float> sum(channels), squares(channels);
    const int64_t step = BlockRows(channels);
    for (int64_t start = first; start < end; start += step) {
      const int64_t stop = std::min(end, start + step);
      std::fill(sum.begin(), sum.end(), 0.0f), std::fill(squares.begin(), squares.end(), 0.0f);
      float *s = sum.data(), *q = squares.data();
      for (int64_t r = start; r < stop; ++r) {
        const float* row = x + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) s[c] += row[c];
      }
      const float share = 1.0f / static_cast<float>(stop - start);
      for (int64_t c = 0; c < channels; ++c) s[c] *= share;
      for (int64_t r = start; r < stop; ++r) {
        const float* row = x + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float distance = row[c] - s[c];
          q[c] += distance * distance;
        }
      }
      join(shares[thread], stop - start, s, q);
    }
  });
  Sums& all = shares[0];
  for (size_t i = 1; i < shares.size(); ++i)
    if (shares[i].rows > 0)
      join(all, shares[i].rows, shares[i].mean.data(), shares[i].squares.data());
  for (int64_t c = 0; c < channels; ++c) {
    mean[c] = static_cast<float>(all.mean[c]);
    var[c] = static_cast<float>(all.squares[c] / rows);
  }
}

struct Affine {
  std::vector<float> gain, shift;

  explicit Affine(const Channels& of) : gain(of.count), shift(of.count) {
    for (int64_t c = 0; c < of.count; ++c) {
      gain[c] = of.scale[c] * of.Inverse(c);
      shift[c] = of.bias[c] - of.mean[c] * gain[c];
    }
  }
};

// y = activation(normalised x + shortcut)
template <Activation activation, bool adds>
void Normalise(const float* x, const float* shortcut, int64_t rows, const Channels& of, float* y) {
  const Affine affine(of);
  const float *gain = affine.gain.data(), *shift = affine.shift.data();
  const int64_t channels = of.count;
  Share(rows, [=](int64_t first, int64_t end, int64_t) {
    for (int64_t r = first; r < end; ++r) {
      const int64_t at = r * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        float z = x[at + c] * gain[c] + shift[c];
        if (adds) z += shortcut[at + c];
        y[at + c] = Activate<activation>(z);
      }
    }
  });
}

// The gradient of one number before the activation. Where a shortcut was added, `other` is the
// result for a ReLU, whose slope is told by the result's sign, and the shortcut for a SiLU.
template <Activation activation, bool adds>
inline float Before(float dy, float x, float other, float gain, float shift) {
  if (activation == Activation::kNone) return dy;
  if (activation == Activation::kRelu && adds) return other > 0 ? dy : 0.0f;
  float z = x * gain + shift;
  if (adds) z += other;
  return dy * Slope<activation>(z);
}

// With dz the gradient before the activation: sums over rows of dz and of dz times normalised x.
template <Activation activation, bool adds>
void Sums(const float* x, const float* other, const float* dy, int64_t rows, const Channels& of,
          float* sums) {
  const Affine affine(of);
  const float *gain = affine.gain.data(), *shift = affine.shift.data(), *mean = of.mean;
  const int64_t channels = of.count;
  std::vector<std::vector<double>> shares(omp_get_max_threads());
  for (auto& share : shares) share.resize(2 * channels);
  Share(rows, [&](int64_t first, int64_t end, int64_t thread) {
    std::vector<float> block(2 * channels);
    double* share = shares[thread].data();
    float *total = block.data(), *slope = total + channels;
    const int64_t step = BlockRows(channels);
    for (int64_t start = first; start < end; start += step) {
      std::fill(block.begin(), block.end(), 0.0f);
      for (int64_t r = start; r < std::min(end, start + step); ++r) {
        const int64_t at = r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float in = x[at + c];
          const float dz =
              Before<activation, adds>(dy[at + c], in, other[at + c], gain[c], shift[c]);
          total[c] += dz;
          slope[c] += dz * (in - mean[c]);
        }
      }
      for (int64_t c = 0; c < 2 * channels; ++c) share[c] += block[c];
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    double total = 0, slope = 0;
    for (const auto& share : shares) total += share[c], slope += share[channels + c];
    sums[c] = static_cast<float>(total);
    sums[channels + c] = static_cast<float>(slope * of.Inverse(c));
  }
}

// dx, and the gradient of a shortcut before an activation; `means` are the sums above over all
// replicas, divided by the number of rows.
template <Activation activation, bool adds>
void Gradient(const float* x, const float* other, const float* dy, int64_t rows, const Channels& of,
              const float* means, float* dx, float* d_shortcut) {
  const Affine affine(of);
  const float *gain = affine.gain.data(), *shift = affine.shift.data(), *mean = of.mean;
  const int64_t channels = of.count;
  std::vector<float> slopes(channels);
  for (int64_t c = 0; c < channels; ++c) slopes[c] = means[channels + c] * of.Inverse(c);
  const float* slope = slopes.data();
  Share(rows, [=](int64_t first, int64_t end, int64_t) {
    for (int64_t r = first; r < end; ++r) {
      const int64_t at = r * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const float in = x[at + c];
        const float dz =
            Before<activation, adds>(dy[at + c], in, other[at + c], gain[c], shift[c]);
        dx[at + c] = gain[c] * (dz - means[c] - (in - mean[c]) * slope[c]);
        if (adds && activation != Activation::kNone) d_shortcut[at + c] = dz;
      }
    }
  });
}

using Floats = ffi::BufferR1<ffi::DataType::F32>;
using TwoRows = ffi::BufferR2<ffi::DataType::F32>;

template <Activation value>
using Chosen = std::integral_constant<Activation, value>;

// Calls work(activation, adds) with the two as types: a loop for each combination.
template <typename Work>
void Dispatch(int64_t activation, bool adds, const Work& work) {
  const auto with = [&](auto chosen) {
    if (adds) {
      work(chosen, std::true_type{});
    } else {
      work(chosen, std::false_type{});
    }
  };
  switch (static_cast<Activation>(activation)) {
    case Activation::kNone: return with(Chosen<Activation::kNone>{});
    case Activation::kRelu: return with(Chosen<Activation::kRelu>{});
    case Activation::kSilu: return with(Chosen<Activation::kSilu>{});
  }
}

Channels PerChannel(Floats mean, Floats var, Floats scale, Floats bias, float epsilon) {
  return {mean.typed_data(), var.typed_data(), scale.typed_data(), bias.typed_data(),
          static_cast<int64_t>(mean.element_count()), epsilon};
}

int64_t Rows(Map x, Floats channels) { return x.element_count() / channels.element_count(); }

ffi::Error NormMoments(Map x, ffi::Result<Floats> mean, ffi::Result<Floats> var) {
  return Worker::Get().Run([&] {
    Moments(x.typed_data(), Rows(x, *mean), mean->element_count(), mean->typed_data(),
            var->typed_data());
  });
}

ffi::Error NormResult(float epsilon, int64_t activation, bool adds, Map x, Map shortcut,
                      Floats mean, Floats var, Floats scale, Floats bias, ffi::Result<Map> y) {
  const Channels of = PerChannel(mean, var, scale, bias, epsilon);
  return Worker::Get().Run([&] {
    Dispatch(activation, adds, [&](auto chosen, auto adds) {
      Normalise<chosen.value, adds.value>(x.typed_data(), shortcut.typed_data(), Rows(x, mean), of,
                                          y->typed_data());
    });
  });
}

ffi::Error NormSums(float epsilon, int64_t activation, bool adds, Map x, Map other, Floats mean,
                    Floats var, Floats scale, Floats bias, Map dy, ffi::Result<TwoRows> sums) {
  const Channels of = PerChannel(mean, var, scale, bias, epsilon);
  return Worker::Get().Run([&] {
    Dispatch(activation, adds, [&](auto chosen, auto adds) {
      Sums<chosen.value, adds.value>(x.typed_data(), other.typed_data(), dy.typed_data(),
                                     Rows(x, mean), of, sums->typed_data());
    });
  });
}

ffi::Error NormGradient(float epsilon, int64_t activation, bool adds, Map x, Map other,
                        Floats mean, Floats var, Floats scale, Floats bias, Map dy, TwoRows means,
                        ffi::RemainingRets results) {
  const Channels of = PerChannel(mean, var, scale, bias, epsilon);
  auto dx = results.get<Map>(0), second = results.get<Map>(1);
  if (!dx) return dx.error();
  float* d_shortcut = second ? (*second)->typed_data() : nullptr;
  return Worker::Get().Run([&] {
    Dispatch(activation, adds, [&](auto chosen, auto adds) {
      Gradient<chosen.value, adds.value>(x.typed_data(), other.typed_data(), dy.typed_data(),
                                         Rows(x, mean), of, means.typed_data(),
                                         (*dx)->typed_data(), d_shortcut);
    });
  });
}

auto ConvBinding() {
  return ffi::Ffi::Bind()
      .Arg<Map>()
      .Arg<Map>()
      .Ret<Map>()
      .Attr<Integers>("strides")
      .Attr<Integers>("padding")
      .Attr<Integers>("dilation")
      .Attr<int64_t>("groups");
}

auto NormBinding() {
  return ffi::Ffi::Bind()
      .Attr<float>("epsilon")
      .Attr<int64_t>("activation")
      .Attr<bool>("adds")
      .Arg<Map>()
      .Arg<Map>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Arg<Floats>();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(liftjax_conv, Conv<Kind::kOutput>, ConvBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(liftjax_conv_input_gradient, Conv<Kind::kInputGradient>,
                              ConvBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(liftjax_conv_kernel_gradient, Conv<Kind::kKernelGradient>,
                              ConvBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(liftjax_norm_moments, NormMoments,
                              ffi::Ffi::Bind().Arg<Map>().Ret<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(liftjax_norm_result, NormResult,
                              NormBinding().Ret<Map>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(liftjax_norm_sums, NormSums,
                              NormBinding().Arg<Map>().Ret<TwoRows>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(liftjax_norm_gradient, NormGradient,
                              NormBinding().Arg<Map>().Arg<TwoRows>().RemainingRets());

// Whether oneDNN has fast convolutions of float32 for this processor.
extern "C" bool liftjax_supported() { return Knows(dnnl::cpu_isa::avx2); }
