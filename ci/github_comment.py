"""Run by the action: writes a page as a comment on the pull request that the job runs for.

A job has one comment an image, which its next run writes anew. Without a pull request nothing is written;
where none can be written, as with the token of a fork's pull request, a warning says so, and the job goes
on.
"""

import hashlib
import json
import os
import re
import sys
import urllib.request
from pathlib import Path

PER_PAGE = 100


def main(page: str) -> None:
    """Write the comment."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    number = (event.get("pull_request") or {}).get("number")
    if not number:
        print("There is no pull request, and no comment.")
        return
    repository = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}"
    mark = f"<!-- squashkit waste {key()} -->"
    body = {"body": f"{mark}\n{Path(page).read_text(encoding='utf-8')}"}
    try:
        old = find(f"{repository}/issues/{number}/comments", mark)
        if old is None:
            call(f"{repository}/issues/{number}/comments", "POST", body)
        else:
            call(f"{repository}/issues/comments/{old}", "PATCH", body)
    except OSError as error:
        print(f"::warning::squashkit: no comment was written: {error}")


def key() -> str:
    """What tells comments of jobs and images from each other: not the image's tag, which changes."""
    image = re.sub(r"@[^/@]*$|:[^:/@]*$", "", os.environ["IMAGE"])
    parts = [os.environ.get("GITHUB_WORKFLOW", ""), os.environ.get("GITHUB_JOB", ""), image]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def find(comments: str, mark: str) -> int | None:
    """The comment that an earlier run wrote."""
    number = 1
    while True:
        found = call(f"{comments}?per_page={PER_PAGE}&page={number}")
        for one in found:
            if (one["body"] or "").startswith(mark):
                return int(one["id"])
        if len(found) < PER_PAGE:
            return None
        number += 1


def call(url: str, method: str = "GET", document: object = None):
    """What GitHub's API answers. Raises OSError where it does not, or refuses."""
    headers = {
        "Authorization": f"Bearer {os.environ['TOKEN']}",
        "Accept": "application/vnd.github+json",
        "Content-Type": "application/json",
        "User-Agent": "squashkit",
    }
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main(sys.argv[1])
