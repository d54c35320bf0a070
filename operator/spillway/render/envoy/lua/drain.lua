-- GET /drain, the preStop hook: says unready, goes on accepting while endpoints forget this pod, then stops listening and answers when the
-- last request is done and clients have let go of their connections. One that a client keeps open may bring another request at any time, and
-- Envoy would not answer it after the hook; who keeps one idle is waited for until pools of clients give it up, not longer.
-- It lives here because kubelet's hook can only GET, and the gateway's image need not have a shell.
local function admin(h, method, path)
  local _, body = h:httpCall("admin", { [":method"] = method, [":path"] = path, [":authority"] = "admin" }, nil, 5000)
  return body or ""
end

local function pause(h) h:httpCall("pause", { [":method"] = "GET", [":path"] = "/", [":authority"] = "pause" }, nil, 5000) end

-- How many requests and how many connections of clients there are.
local function open(h)
  local found = admin(h, "GET", "/stats?filter=^http.edge.downstream_(rq|cx)_active$")
  return tonumber(string.match(found, "rq_active: (%d+)")), tonumber(string.match(found, "cx_active: (%d+)"))
end

function envoy_on_request(h)
  local settle, patience = h:metadata():get("drain_settle_pauses"), h:metadata():get("drain_idle_pauses")
  if not settle then return end  -- not the /drain route
  admin(h, "POST", "/healthcheck/fail")
  for _ = 1, settle do pause(h) end
  admin(h, "POST", "/drain_listeners?inboundonly")
  local quiet = 0
  repeat
    pause(h)
    local requests, connections = open(h)
    quiet = requests == 0 and quiet + 1 or 0
  until quiet > 0 and (connections == 0 or quiet > patience)
  h:respond({ [":status"] = "200", ["content-type"] = "text/plain" }, "drained\n")
end
