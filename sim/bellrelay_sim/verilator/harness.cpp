// The verilated relay as a program: requests on standard input, answers on standard output, all
// numbers little-endian. Built by bellrelay_sim.gateware_board with these macros:
//   CHANNELS, CODE_BITS: of the geometry. TAPS: 1 if the front end takes samples of delay lines.
//
//   'P' u64 clocks_per_byte, u64 n, n x (u64 begin, u64 length)   pace of the link
//   'W' u64 n, n bytes                                             command bytes, one per clock
//   'S' u64 n, n x (u64 cell, u32 channel, u32 code)               hits, in order of the cell
//   'T' i32 temperature
//   'R' u64 clocks -> u64 fault, u64 n, n bytes                    let clocks pass
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <vector>

#include "Vrelay.h"
#include "verilated.h"

namespace {

struct Hit {
    uint64_t cell;
    uint32_t channel;
    uint32_t code;
};
struct Stall {
    uint64_t begin;
    uint64_t length;
};
constexpr int kTaps = 1 << CODE_BITS;

bool take(void* to, size_t size) { return fread(to, 1, size, stdin) == size; }

template <typename T>
T number() {
    T value;
    if (!take(&value, sizeof value)) exit(3);
    return value;
}

template <typename T>
void append(std::deque<T>& to) {
    std::vector<T> some(number<uint64_t>());
    if (!some.empty() && !take(some.data(), some.size() * sizeof(T))) exit(3);
    to.insert(to.end(), some.begin(), some.end());
}

#if TAPS
template <typename Port>
void set_ones(Port& port, int first, int ones) {
    if constexpr (sizeof(Port) <= 8) {
        for (int i = 0; i < ones; ++i) port |= Port(1) << (first + i);
    } else {
        for (int i = first; i < first + ones; ++i) port[i / 32] |= 1u << (i % 32);
    }
}
template <typename Port>
void clear(Port& port) {
    if constexpr (sizeof(Port) <= 8) {
        port = 0;
    } else {
        for (int i = 0; i < (CHANNELS * kTaps + 31) / 32; ++i) port[i] = 0;
    }
}
#endif

}  // namespace

int main() {
    static char out_buffer[1 << 16];
    setvbuf(stdout, out_buffer, _IOFBF, sizeof out_buffer);
    VerilatedContext context;
    Vrelay top{&context};
    std::deque<uint8_t> commands;
    std::deque<Hit> hits;
    std::deque<Stall> stalls;
    std::vector<uint8_t> out;
    uint64_t clock = 0, cell = 0, pace = 1, byte_phase = 0;
    bool was_acquiring = false, driven = true;

    top.clk = 0;
    top.rst = 1;
    top.temperature = 0;
    top.link_in_valid = 0;
    top.link_out_ready = 0;
    top.eval();
    top.clk = 1;
    top.eval();
    top.rst = 0;

    for (int what; (what = getchar()) != EOF;) {
        switch (what) {
            case 'P':
                pace = number<uint64_t>();
                byte_phase = clock % pace;
                append(stalls);
                continue;
            case 'W': append(commands); continue;
            case 'S': append(hits); continue;
            case 'T': top.temperature = uint32_t(number<int32_t>()); continue;
            case 'R': break;
            default: return 3;
        }
        out.clear();
        const uint64_t end = clock + number<uint64_t>();
        for (; clock != end; ++clock) {
            // What left the last rising edge holds during this clock; the low phase is where the
            // inputs of this clock are set.
            top.clk = 0;
            const bool acquiring = top.acquiring;
            if (acquiring) {
                cell = top.cell_start ? 0 : cell + 1;
            } else if (was_acquiring) {
                hits.clear();
            }
            was_acquiring = acquiring;
#if TAPS
            if (driven) clear(top.taps);
            driven = false;
            if (acquiring) {
                uint32_t seen = 0;
                for (; !hits.empty() && hits.front().cell <= cell; hits.pop_front()) {
                    const Hit& hit = hits.front();
                    if (hit.cell != cell || (seen >> hit.channel & 1)) continue;
                    seen |= 1u << hit.channel;
                    set_ones(top.taps, int(hit.channel) * kTaps, kTaps - int(hit.code));
                    driven = true;
                }
            }
#else
            uint64_t word = 0;
            if (acquiring) {
                for (; !hits.empty() && hits.front().cell <= cell; hits.pop_front()) {
                    const Hit& hit = hits.front();
                    const unsigned at = hit.channel * (1 + CODE_BITS);
                    // Of several arrivals in a cell the earliest is the hit.
                    if (hit.cell != cell || (word >> at & 1)) continue;
                    word |= (uint64_t(hit.code) << 1 | 1) << at;
                }
            }
            if (word || driven) top.hits = word;
            driven = word != 0;
#endif
            top.link_in_valid = !commands.empty();
            if (!commands.empty()) {
                top.link_in_payload = commands.front();
                commands.pop_front();
            }
            bool ready = byte_phase == 0;
            if (++byte_phase == pace) byte_phase = 0;
            while (!stalls.empty() && stalls.front().begin + stalls.front().length <= clock) {
                stalls.pop_front();
            }
            if (!stalls.empty() && stalls.front().begin <= clock) ready = false;
            top.link_out_ready = ready;
            if (ready && top.link_out_valid) out.push_back(top.link_out_payload);
            top.eval();
            top.clk = 1;
            top.eval();
        }
        const uint64_t head[2] = {top.fault, out.size()};
        fwrite(head, sizeof head, 1, stdout);
        fwrite(out.data(), 1, out.size(), stdout);
        fflush(stdout);
    }
    return 0;
}
