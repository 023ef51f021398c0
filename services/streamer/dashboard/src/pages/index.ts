// All pages, where they are, and how the keyboard goes there.

import type { ComponentType } from "preact";
import type { IconName } from "../ui/icons";
import { DeadLetters } from "./dead-letters";
import { Endpoint } from "./endpoint";
import { Endpoints } from "./endpoints";
import { Events } from "./events";
import { Job } from "./job";
import { Jobs } from "./jobs";
import { Missing } from "./missing";
import { Overview } from "./overview";
import { Queues } from "./queues";
import { Schedule } from "./schedule";
import { Schedules } from "./schedules";
import { Settings } from "./settings";
import { Workers } from "./workers";
import { Workflow } from "./workflow";
import { Workflows } from "./workflows";

interface Entry {
  path: string;
  title: string;
  icon: IconName;
  key: string;
  show: ComponentType;
  /** The page of one of them: /jobs/<id>. */
  one?: { title: string; show: ComponentType };
}

export const PAGES: Entry[] = [
  { path: "/", title: "Overview", icon: "overview", key: "o", show: Overview },
  { path: "/queues", title: "Queues", icon: "queues", key: "q", show: Queues },
  {
    path: "/jobs",
    title: "Jobs",
    icon: "jobs",
    key: "j",
    show: Jobs,
    one: { title: "Job", show: Job },
  },
  {
    path: "/dead-letters",
    title: "Dead letters",
    icon: "dead",
    key: "d",
    show: DeadLetters,
  },
  {
    path: "/endpoints",
    title: "Endpoints",
    icon: "endpoints",
    key: "e",
    show: Endpoints,
    one: { title: "Endpoint", show: Endpoint },
  },
  {
    path: "/workflows",
    title: "Workflows",
    icon: "workflows",
    key: "w",
    show: Workflows,
    one: { title: "Workflow", show: Workflow },
  },
  {
    path: "/schedules",
    title: "Schedules",
    icon: "schedules",
    key: "s",
    show: Schedules,
    one: { title: "Schedule", show: Schedule },
  },
  { path: "/workers", title: "Workers", icon: "workers", key: "r", show: Workers },
  { path: "/events", title: "Events", icon: "events", key: "v", show: Events },
  { path: "/settings", title: "Settings", icon: "settings", key: "t", show: Settings },
];

/** Return what is shown at a path, and where that is in the navigation. */
export function pageOf(path: string): {
  nav: string;
  title: string;
  show: ComponentType;
} {
  for (const page of PAGES) {
    if (page.path === path)
      return { nav: page.path, title: page.title, show: page.show };
    if (page.one && path.startsWith(`${page.path}/`)) {
      return { nav: page.path, title: page.one.title, show: page.one.show };
    }
  }
  return { nav: "", title: "Not found", show: Missing };
}
