"""The commands of `sgrocc`: one module each, with HELP, add_arguments(parser) and run(arguments).

Heavy imports happen only inside `run`.
"""
