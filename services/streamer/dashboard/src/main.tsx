// The page begins here.

import { render } from "preact";
import { App } from "./app";
import "./style/tokens.css";
import "./style/frame.css";
import "./style/parts.css";
import "./style/pages.css";

const root = document.getElementById("app");
if (root !== null) render(<App />, root);
