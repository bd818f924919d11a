"""``sksimclr pack``: files go in, a store of frames to train on comes out."""

import dataclasses

from sksimclr._commands._arguments import circle
from sksimclr._commands._label import workers_at
from sksimclr._commands._report import SOME_FAILED, Report, run_text
from sksimclr._preprocessing import AuroraPreprocessor
from sksimclr.archive import pack_frames, read_failures


def run(args):
    """Pack the files."""
    options = {} if args.quality is None else {"quality": args.quality}
    with workers_at(args.scheduler):
        done = pack_frames(
            args.files,
            args.output,
            preprocessor=AuroraPreprocessor(
                **circle(args), size=args.size, dtype="uint8"
            ),
            every=args.every,
            per_night=args.per_night,
            utc_offset=args.utc_offset,
            n_threads=args.threads,
            retry_failures=args.retry_failures,
            verbose=not args.quiet,
            **options,
        )
    failures = read_failures(args.output).to_pylist()
    data = {"store": args.output, **dataclasses.asdict(done), "failures": failures}
    text = run_text(done, "Packed", "store", args.output, failures)
    return Report(data, text, SOME_FAILED if failures else 0)
