"""The commands of `sgrocc`, one a module: HELP, add_arguments(parser) and run(arguments); heavy imports only inside run."""
