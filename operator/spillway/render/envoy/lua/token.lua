-- Who calls: the client is the subject of the token that Envoy has verified. A token without one is refused.
function envoy_on_request(h)
  local verified = h:streamInfo():dynamicMetadata():get("envoy.filters.http.jwt_authn")
  local client = verified and verified.token and verified.token.sub
  if type(client) ~= "string" or client == "" then
    return h:respond({ [":status"] = "401", ["www-authenticate"] = "Bearer" }, "this token has no subject (sub)")
  end
  local meta = h:streamInfo():dynamicMetadata()
  meta:set("access", "client", client)
  meta:set("access", "client_hash", string.sub(sha256(client), 1, 12))
end
