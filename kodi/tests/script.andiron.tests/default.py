"""Runs a program of the tests: its path, the path of the file for its answer, and its arguments as JSON."""

import json
import os
import sys
import traceback


def tell(path, told):
    """Writes an answer, which is there as a whole or not at all."""
    with open(path + ".part", "w") as file:
        json.dump(told, file)
    os.replace(path + ".part", path)


def main(program, path, arguments):
    """Runs it. What it raises is its answer if it has given none."""
    names = {
        "__name__": "__main__",
        "answer": lambda value: tell(path, {"value": value}),
        "arguments": json.loads(arguments),
    }
    try:
        with open(program) as file:
            exec(compile(file.read(), program, "exec"), names)
    except BaseException:
        if not os.path.exists(path):
            tell(path, {"error": traceback.format_exc()})
        raise


main(*sys.argv[1:])
