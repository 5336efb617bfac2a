"""What the check scripts of this folder share: a program, a folder to run it in, and a count of what holds."""


class Checks:
    def __init__(self, program, place):
        self.program, self.place, self.failed, self.count = program, place, [], 0

    def check(self, name, holds, found=""):
        self.count += 1
        print(("ok     " if holds else "WRONG  ") + name, found, flush=True)
        if not holds:
            self.failed.append(name)

    def command(self, *arguments):
        return [str(argument) for argument in [self.program, *arguments]]

    def finish(self):
        """End with an error if one check was wrong."""
        if self.failed:
            raise SystemExit(f"{len(self.failed)} of {self.count} wrong: {', '.join(self.failed)}")
        print(f"all {self.count} checks hold")
