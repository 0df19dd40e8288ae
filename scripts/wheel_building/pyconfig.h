// What Python's headers want to know of the system they are compiled for, in place of the file that Python's own build
// writes for one system: the headers of a Python for Linux then serve for modules of Windows and macOS. Only what the
// headers themselves ask for, and what their declarations depend on; sizes are the compiler's own.
#ifndef QWILL_PYCONFIG_H
#define QWILL_PYCONFIG_H


#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_INT __SIZEOF_INT__
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_LONG_LONG __SIZEOF_LONG_LONG__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF_PID_T 4
#define ALIGNOF_MAX_ALIGN_T __BIGGEST_ALIGNMENT__

#define HAVE_LONG_LONG 1
#define HAVE_STDDEF_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_WCHAR_H 1
#define WITH_THREAD 1
#define WITH_DOC_STRINGS 1
#define WITH_PYMALLOC 1

#ifdef _WIN32
#define MS_WINDOWS 1
#define MS_WIN64 1
#define NT_THREADS 1
#define HAVE_DECLSPEC_DLL 1
#define Py_ENABLE_SHARED 1     // declares names as imported from the DLL
typedef long long Py_ssize_t;  // POSIX's ssize_t is absent
#define HAVE_PY_SSIZE_T 1
#define PY_SSIZE_T_MAX __LONG_LONG_MAX__
#else
#define HAVE_SSIZE_T 1
#define HAVE_PTHREAD_H 1
#define HAVE_SYS_TIME_H 1
#endif

#endif
