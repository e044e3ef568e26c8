// A proxy between browser and network that notes every request with its body, and changes answers.

import { createServer, request } from "node:http";
import { connect } from "node:net";

/**
 * Starts it; `requests` are what went through. For each, `change` may give "away", so that there is no
 * answer, or what makes another body of the answer's, whose headers it may change in place.
 */
export async function proxy() {
  const noted = { requests: [], change: () => undefined };
  const server = createServer((from, to) => {
    const parts = [];
    from.on("data", (part) => parts.push(part));
    from.on("end", () => {
      const url = new URL(from.url);
      const { method, headers } = from;
      const one = { method, url, path: url.pathname, origin: url.origin, headers, body: Buffer.concat(parts) };
      noted.requests.push(one);
      const changed = noted.change(one);
      if (changed === "away") return to.destroy();
      const { host, pathname, search } = url;
      const on = request({ host: url.hostname, port: url.port, path: pathname + search, method, headers: { ...headers, host } });
      on.on("error", () => to.destroy());
      on.on("response", (answer) => {
        const body = [];
        answer.on("data", (part) => body.push(part));
        answer.on("end", () => {
          let whole = Buffer.concat(body);
          const { "content-length": _, "transfer-encoding": __, ...headers } = answer.headers;
          if (changed) whole = changed(whole, headers);
          to.writeHead(answer.statusCode, { ...headers, "content-length": whole.length });
          to.end(answer.statusCode === 204 ? undefined : whole);
        });
        answer.on("error", () => to.destroy());
      });
      on.end(one.body);
    });
  });
  // TLS goes through as it is.
  server.on("connect", ({ url }, from) => {
    const [host, port] = url.split(":");
    const to = connect(Number(port), host, () => {
      from.write("HTTP/1.1 200 OK\r\n\r\n");
      from.pipe(to).pipe(from);
    });
    for (const socket of [from, to]) socket.on("error", () => (from.destroy(), to.destroy()));
  });
  server.on("clientError", (_, socket) => socket.destroy());
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  noted.address = `http://127.0.0.1:${server.address().port}`;
  noted.end = () => new Promise((resolve) => (server.close(resolve), server.closeAllConnections()));
  noted.forget = () => (noted.requests = []);
  noted.posts = () => noted.requests.filter(({ method }) => !["GET", "HEAD", "OPTIONS"].includes(method));
  noted.inputs = () => noted.posts().filter(({ path }) => path.endsWith("/input"));
  return noted;
}
