#!/usr/bin/env python3
"""Brings Grafana's teams, organisation roles and folder permissions to what access.json says, over its HTTP API.

In: access.json (or another file of its form), the address of Grafana, and a service account's token or an
administrator's name and password from the environment. Out: a line for each change. It reads before it writes and
writes only what differs, so that it can be run again at any time; with --check it only tells.
Works with the open edition; nothing but Python's standard library is needed.

"members" names people that Grafana knows already by their login: {"hanako": {"role": "Viewer", "teams": ["TechSapo
Operators"]}}. A person's role and these teams are seen to; other teams and other people are left alone.
"""

import argparse
import base64
import json
import os
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

PERMISSIONS = {"View": 1, "Edit": 2, "Admin": 4}
ROLES = ("Viewer", "Editor", "Admin")


class Failure(Exception):
    """What went wrong, and what to do, for a person."""


class Grafana:
    """Its API, as far as it is needed here."""

    def __init__(self, url, authorization, only_check):
        self.url = url.rstrip("/")
        self.headers = {"Authorization": authorization, "Content-Type": "application/json", "Accept": "application/json"}
        self.only_check = only_check
        self.changes = 0
        # Proxies have no say: the credential goes to Grafana alone.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers, method=method)
        try:
            with self.opener.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")[:300]
            raise Failure(f"{method} {path} was answered with {error.code}: {text}") from error
        except (OSError, ValueError) as error:
            raise Failure(f"{method} {path} got no answer from {self.url}: {error}") from error

    def change(self, what, method, path, body):
        """Writes one thing that differs; nothing when it is only to be told."""
        self.changes += 1
        print(("would change: " if self.only_check else "changed: ") + what)
        return None if self.only_check else self.ask(method, path, body)


def check_file(access):
    """Every name in it must make sense before anything is written."""
    for folder, grants in access["folders"].items():
        for grant in grants:
            if grant["permission"] not in PERMISSIONS:
                raise Failure(f"{folder}: '{grant['permission']}' is none of {', '.join(PERMISSIONS)}")
            if ("role" in grant) == ("team" in grant):
                raise Failure(f"{folder}: each grant names either a role or a team")
            if "team" in grant and grant["team"] not in access["teams"]:
                raise Failure(f"{folder}: there is no team '{grant['team']}' in \"teams\"")
            # Administrators may do everything anyway, and Grafana refuses to be told so.
            if "role" in grant and grant["role"] not in ROLES[:2]:
                raise Failure(f"{folder}: '{grant['role']}' is none of {', '.join(ROLES[:2])}")
    for login, person in access["members"].items():
        if person["role"] not in ROLES:
            raise Failure(f"{login}: '{person['role']}' is none of {', '.join(ROLES)}")
        for team in person.get("teams", []):
            if team not in access["teams"]:
                raise Failure(f"{login}: there is no team '{team}' in \"teams\"")


def teams(grafana, names):
    """The id of each team, made where it is missing; None where it would have to be made first."""
    ids = {}
    for name in names:
        found = grafana.ask("GET", "/api/teams/search?" + urllib.parse.urlencode({"name": name}))["teams"]
        ids[name] = next((team["id"] for team in found if team["name"] == name), None)
        if ids[name] is None:
            made = grafana.change(f"team {name}", "POST", "/api/teams", {"name": name})
            ids[name] = made and made["teamId"]
    return ids


def folders(grafana, wanted, team_ids):
    """Each folder's permissions; whatever else stands there goes."""
    for uid, grants in wanted.items():
        path = f"/api/folders/{urllib.parse.quote(uid)}/permissions"
        # Administrators' rights are listed too, and cannot be taken away; nor are inherited ones this folder's own.
        found = {
            (item.get("role") or "", item.get("teamId") or 0, item.get("userId") or 0, item["permission"])
            for item in grafana.ask("GET", path)
            if item.get("role") != "Admin" and not item.get("inherited")
        }
        ours = {(grant.get("role", ""), team_ids.get(grant.get("team"), 0), 0, PERMISSIONS[grant["permission"]]) for grant in grants}
        if found == ours:
            continue
        items = [
            {"permission": permission, **({"role": role} if role else {"teamId": team})}
            for role, team, _, permission in sorted(ours, key=str)
        ]
        grafana.change(f"permissions of folder {uid}", "POST", path, {"items": items})


def members(grafana, wanted, team_ids):
    """People's roles and teams."""
    if not wanted:
        return
    people = {person["login"]: person for person in grafana.ask("GET", "/api/org/users")}
    for login, person in wanted.items():
        if login not in people:
            raise Failure(f"Grafana knows nobody with the login '{login}'; people are made by their first sign-in, or by you")
        user = people[login]["userId"]
        if people[login]["role"] != person["role"]:
            grafana.change(f"role of {login}: {person['role']}", "PATCH", f"/api/org/users/{user}", {"role": person["role"]})
        for team in person.get("teams", []):
            team_id = team_ids[team]
            inside = team_id and grafana.ask("GET", f"/api/teams/{team_id}/members")
            if not any(member["userId"] == user for member in inside or []):
                grafana.change(f"{login} joins {team}", "POST", f"/api/teams/{team_id}/members", {"userId": user})


def authorization(environment):
    if token := environment.get("GRAFANA_TOKEN"):
        return "Bearer " + token
    if password := environment.get("GRAFANA_PASSWORD"):
        pair = f"{environment.get('GRAFANA_USER', 'admin')}:{password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    raise Failure("set GRAFANA_TOKEN (a service account's, with the role Admin), or GRAFANA_USER and GRAFANA_PASSWORD")


def main():
    parser = argparse.ArgumentParser(description="Brings Grafana's teams, roles and folder permissions to what a file says.")
    parser.add_argument("--url", default=os.environ.get("GRAFANA_URL", "http://127.0.0.1:3000"), help="where Grafana is (GRAFANA_URL)")
    parser.add_argument("--file", type=pathlib.Path, default=pathlib.Path(__file__).with_name("access.json"), help="what is wanted")
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if something would change")
    arguments = parser.parse_args()
    try:
        access = json.loads(arguments.file.read_text(encoding="utf-8"))
        check_file(access)
        grafana = Grafana(arguments.url, authorization(os.environ), arguments.check)
        team_ids = teams(grafana, access["teams"])
        folders(grafana, access["folders"], team_ids)
        members(grafana, access["members"], team_ids)
    except (OSError, KeyError, ValueError, Failure) as error:
        print(f"error: {error!r}" if isinstance(error, KeyError) else f"error: {error}", file=sys.stderr)
        return 2
    print(f"{grafana.changes} changes" if grafana.changes else "nothing to change")
    return 1 if arguments.check and grafana.changes else 0


if __name__ == "__main__":
    sys.exit(main())
