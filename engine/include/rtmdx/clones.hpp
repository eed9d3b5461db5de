// RTMDX_CLONES: compile a hot function twice and let the loader pick. AVX2 brings no fused multiply-add and the
// build forbids contraction, so both clones give the same bits. (The thread sanitizer cannot start with clones.)
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__) && \
    !defined(__SANITIZE_THREAD__)
#define RTMDX_CLONES __attribute__((target_clones("avx2", "default")))
#define RTMDX_HAS_CLONES 1
#else
#define RTMDX_CLONES
#define RTMDX_HAS_CLONES 0
#endif
