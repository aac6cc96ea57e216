// Measures the library of github.com/brunorijsman/cascade-cpp (MIT) for bench/cascade.py --cascade-cpp.
//
//     git clone https://github.com/brunorijsman/cascade-cpp && cd cascade-cpp
//     g++ -O3 -march=native -std=c++14 -include cmath -include cassert -include climits -Iinclude
//         .../bench/cascade_peer.cpp cascade/*.cpp -o cascade_peer -pthread
//
// usage: cascade_peer ALGORITHM N ERROR_RATE FRAMES
// Permutations are fresh for every frame (its cache would use the same for all), and wrong frames
// are counted bit by bit (its own count looks at every second half word).

#include "algorithm.h"
#include "key.h"
#include "mock_classical_session.h"
#include "reconciliation.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>

using namespace Cascade;

static int differing_bits(const Key& a, const Key& b)
{
    int count = 0;
    for (int i = 0; i < a.get_nr_bits(); ++i)
        count += a.get_bit(i) != b.get_bit(i);
    return count;
}

int main(int argc, char** argv)
{
    if (argc != 5)
        return 2;
    Algorithm* algorithm = const_cast<Algorithm*>(Algorithm::get_by_name(argv[1]));
    if (!algorithm)
        return 2;
    algorithm->cache_shuffles = false;
    const int n = std::atoi(argv[2]);
    const double error_rate = std::atof(argv[3]);
    const int frames = std::atoi(argv[4]);
    double asked = 0, entropy = 0, seconds = 0, messages = 0;
    int wrong = 0;
    for (int frame = 0; frame < frames; ++frame) {
        Key correct(n);
        MockClassicalSession session(correct, algorithm->cache_shuffles);
        Key noisy = correct;
        noisy.apply_noise(error_rate);
        const double q = double(differing_bits(correct, noisy)) / n;
        const std::clock_t start = std::clock();
        Reconciliation reconciliation(*algorithm, session, noisy, error_rate, &correct);
        reconciliation.reconcile();
        seconds += double(std::clock() - start) / CLOCKS_PER_SEC;
        wrong += differing_bits(correct, reconciliation.get_reconciled_key()) > 0;
        asked += reconciliation.get_stats().ask_parity_blocks;
        messages += 2 * reconciliation.get_stats().ask_parity_messages;
        if (q > 0)
            entropy -= n * (q * std::log2(q) + (1 - q) * std::log2(1 - q));
    }
    std::printf("{\"f\": %.6f, \"wrong\": %d, \"frames\": %d, \"messages\": %.1f, \"mbit_s\": %.4f}\n",
                asked / entropy, wrong, frames, messages / frames, 1e-6 * n * frames / seconds);
}
