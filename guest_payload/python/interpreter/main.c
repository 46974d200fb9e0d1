/* SPDX-License-Identifier: MIT */
/*
 * CPython as one static file: the standard library and our own modules are a zip archive at the end of the program, and
 * nothing else of the machine it runs on is looked at. Arguments are those of python3 (`-c`, `-m`, a file, none).
 */
#include <Python.h>

PyMODINIT_FUNC PyInit__kernel(void);

static void must(PyStatus status)
{
	if (PyStatus_Exception(status))
		Py_ExitStatusException(status);
}

int main(int argc, char **argv)
{
	PyPreConfig before;
	PyConfig config;

	PyImport_AppendInittab("_kernel", PyInit__kernel);

	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1;
	must(Py_PreInitialize(&before));

	PyConfig_InitIsolatedConfig(&config);
	config.parse_argv = 1;
	config.site_import = 0;
	config.write_bytecode = 0;
	config.buffered_stdio = 1;
	config.install_signal_handlers = 1; /* Ctrl-C by hand; SIGPIPE ignored, so that a closed pipe is an exception */
	config.module_search_paths_set = 1;
	must(PyConfig_SetBytesArgv(&config, argc, argv));
	must(PyConfig_SetString(&config, &config.executable, L"/proc/self/exe"));
	must(PyConfig_SetString(&config, &config.home, L"/proc/self/exe"));
	must(PyWideStringList_Append(&config.module_search_paths, L"/proc/self/exe"));
	must(Py_InitializeFromConfig(&config));
	PyConfig_Clear(&config);
	return Py_RunMain();
}
