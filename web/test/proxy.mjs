// A proxy between browser and network that notes every request with its body, and changes answers.

import { createServer, request } from "node:http";

/** Starts it; `requests` are what went through, `change` may answer in the network's place. */
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
          if (changed) whole = changed(whole);
          to.writeHead(answer.statusCode, { ...headers, "content-length": whole.length });
          to.end(answer.statusCode === 204 ? undefined : whole);
        });
        answer.on("error", () => to.destroy());
      });
      on.end(one.body);
    });
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
