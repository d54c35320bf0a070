-- GET /drain, the preStop hook: says unready, goes on accepting while endpoints forget this pod, then stops listening and answers when the
-- last request is done. It lives here because kubelet's hook can only GET, and the gateway's image need not have a shell.
local function admin(h, method, path)
  local _, body = h:httpCall("admin", { [":method"] = method, [":path"] = path, [":authority"] = "admin" }, nil, 5000)
  return body or ""
end

local function pause(h) h:httpCall("pause", { [":method"] = "GET", [":path"] = "/", [":authority"] = "pause" }, nil, 5000) end

local function active(h) return tonumber(string.match(admin(h, "GET", "/stats?filter=^http.edge.downstream_rq_active$"), ": (%d+)")) end

function envoy_on_request(h)
  local settle = h:metadata():get("drain_settle_pauses")
  if not settle then return end  -- not the /drain route
  admin(h, "POST", "/healthcheck/fail")
  for _ = 1, settle do pause(h) end
  admin(h, "POST", "/drain_listeners?inboundonly")
  repeat pause(h) until active(h) == 0
  h:respond({ [":status"] = "200", ["content-type"] = "text/plain" }, "drained\n")
end
