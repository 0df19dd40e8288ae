# For cmake/zig.cmake: how modules are linked for macOS.
set(CMAKE_SHARED_MODULE_CREATE_CXX_FLAGS "-shared -Wl,-headerpad_max_install_names")
