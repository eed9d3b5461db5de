// Stores that pass the caches by. An ordinary store first reads the cache line it changes; where a result is far larger
// than the caches, that reading is half of all the traffic.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__) || defined(_M_X64)
#define RTMDX_STREAMS 1
#include <emmintrin.h>
#else
#define RTMDX_STREAMS 0
#endif

namespace rtmdx {

// A result of so many bytes is streamed.
constexpr std::size_t streamed_from = std::size_t{1} << 24;

// Copies n values. Whole cache lines are streamed, the pieces of lines at the ends stored as usual: a line streamed in
// part costs more than it saves. `stream_end` must follow before another thread may read.
template <class T>
inline void stream(const T* from, std::size_t n, T* to) {
#if RTMDX_STREAMS
  constexpr std::size_t line = 64;
  const auto* source = reinterpret_cast<const char*>(from);
  auto* target = reinterpret_cast<char*>(to);
  const std::size_t bytes = n * sizeof(T);
  std::size_t at = std::min(bytes, (line - reinterpret_cast<std::uintptr_t>(target) % line) % line);
  std::memcpy(target, source, at);
  for (; at + line <= bytes; at += line) {
    for (std::size_t k = 0; k < line; k += sizeof(__m128i)) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(target + at + k),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + at + k)));
    }
  }
  std::memcpy(target + at, source + at, bytes - at);
#else
  std::copy_n(from, n, to);
#endif
}

// Orders streamed values before whatever this thread publishes next.
inline void stream_end() {
#if RTMDX_STREAMS
  _mm_sfence();
#endif
}

}  // namespace rtmdx
