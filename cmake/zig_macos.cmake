# For cmake/zig.cmake: how modules are linked for macOS. Python's symbols are found when it loads the module.
set(CMAKE_SHARED_MODULE_CREATE_CXX_FLAGS "-shared -undefined dynamic_lookup -Wl,-headerpad_max_install_names")
