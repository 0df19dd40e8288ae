// The kernels as a program without Python, for systems and processors that are emulated: answers the calls that come in
// through its standard input (messages.h) until it ends. tests/elsewhere.py is the other side.
#include <exception>

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#endif

#include "program/functions.h"

int main() {
#if defined(_WIN32)
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
#endif
    try {
        qwill::Call call;
        while (qwill::read_call(stdin, call)) qwill::write_answer(stdout, call, qwill::run(call));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "qwill_kernels: %s\n", error.what());
        return 1;
    }
    return 0;
}
