"""Lua, last part of the sandbox: sets of globals, running scripts, registering functions."""

WORLDS = r"""-- globals ----------------------------------------------------------------------------------------------

-- A world is a set of globals: its real table, and the proxy that is the environment of the code in it.
local function world(api_table)
  local real = {}
  local shown, guard = readonly(real)
  local real_meta = { __index = missing_but_server(real) }
  rawsetmetatable(real, real_meta)
  shown_as[real_meta] = false
  shown_as[guard] = library({ __index = missing })
  for name, value in rawnext, libraries do real[name] = value end
  local plain = {
    'assert', 'error', 'gcinfo', 'ipairs', 'rawequal', 'select', 'tonumber', 'tostring', 'type', '_VERSION',
  }
  for _, name in ipairs(plain) do
    real[name] = _G[name]
  end
  real._G, real.unpack = shown, unpack_shown
  real.next, real.pairs, real.rawget, real.rawset = next_shown, pairs_shown, rawget_shown, rawset_shown
  real.getmetatable, real.setmetatable = getmetatable_shown, setmetatable_shown
  real.pcall, real.xpcall, real.collectgarbage = pcall_shown, xpcall_shown, collectgarbage_shown
  real.redis = library(api_table)

  local function loaded(code, name)
    if byte(code) == 27 then
      -- as text, which is what stock takes it for: the message of another letter, with this one's name in it
      local _, why = rawloadstring('\2', name)
      return nil, (gsub(why, 'char%(2%)', 'char(27)'))
    end
    local chunk, why = rawloadstring(code, name)
    if chunk then return rawsetfenv(chunk, shown) end
    return nil, why
  end

  function real.loadstring(...)
    local code, name = ...
    local count = select('#', ...)
    if type(code) == 'number' then code = tostring(code) end
    if type(code) ~= 'string' then bad_type(1, 'loadstring', 'string', count, code) end
    if name == nil then name = code end
    if type(name) ~= 'string' then bad_type(2, 'loadstring', 'string', count, name) end
    return loaded(code, name)
  end

  -- What load returns for a failing reader has passed through the error handler: an error reply.
  local function unread(problem)
    if type(problem) == 'table' then return nil, problem end
    return nil, { err = 'ERR ' .. tostring(problem) }
  end

  function real.load(...)
    local reader, name = ...
    local count = select('#', ...)
    if type(reader) ~= 'function' then bad_type(1, 'load', 'function', count, reader) end
    if name == nil then name = '=(load)' end
    if type(name) ~= 'string' then bad_type(2, 'load', 'string', count, name) end
    local pieces = {}
    while true do
      local ok, piece = rawpcall(reader)
      if not ok then return unread(piece) end
      if piece == nil or piece == '' then break end
      if type(piece) ~= 'string' and type(piece) ~= 'number' then
        local place = getinfo(2, 'Sl')
        local where = place.currentline > 0 and format('%s:%d: ', place.short_src, place.currentline) or ''
        return unread(where .. 'reader function must return a string')
      end
      pieces[#pieces + 1] = piece
    end
    return loaded(concat(pieces), name)
  end
  return real, shown, guard
end

-- running -----------------------------------------------------------------------------------------------------------

-- The error with its place: the innermost line of the script itself.
local function on_error(problem)
  if killed ~= nil then sethook() end   -- the way out is ours again
  local level, info = 2
  repeat
    info = getinfo(level, 'Sl')
    level = level + 1
  until info == nil or (info.currentline > 0 and info.source ~= '=sandbox')
  local text = problem
  if type(problem) == 'table' then
    text = problem.err
    if type(text) ~= 'string' and type(text) ~= 'number' then text = 'ERR unknown error' end
    text = tostring(text)
  else
    text = 'ERR ' .. gsub(tostring(problem), '^sandbox:%d+: ', '')   -- C has no place, and this is ours
  end
  if info then return { text, info.source, info.currentline } end
  return { text }
end

local function outcome(ok, value)
  local reply
  if ok then
    reply = reply_of(value)
    if killed ~= nil then rearm() end
    return reply
  end
  if killed ~= nil or value == 'not enough memory' then rawcollect('collect') end   -- what it held is garbage now
  if killed ~= nil then rearm() end
  if type(value) ~= 'table' then return nil, 'ERR ' .. tostring(value) end
  return nil, value[1], value[2], value[3]
end

local function begin(resp3)
  resp3_client, resp3_script = resp3, false
  NULL = resp3 and '_\r\n' or '$-1\r\n'
end

local function split(count, ...)
  local all = { ... }
  if count == 0 then return {}, all end
  local keys, arguments = {}, {}
  local total = select('#', ...)
  for i = 1, count do keys[i] = all[i] end
  for i = count + 1, total do arguments[i - count] = all[i] end
  return keys, arguments
end

function engine.start()
  local eval_real, eval_shown = world(eval_api)
  local function_real, function_shown, function_guard = world(api)
  eval_real.__redis__err__handler = function() end

  function engine.compile(code, name)
    return rawloadstring(code, name)
  end

  function engine.dump(chunk)
    return dump(chunk)
  end

  -- from bytecode that our own compiler made
  function engine.adopt(code, for_functions)
    return rawsetfenv(rawloadstring(code), for_functions and function_shown or eval_shown)
  end

  function engine.eval(chunk, resp3, count, ...)
    begin(resp3)
    eval_real.KEYS, eval_real.ARGV = split(count, ...)
    return outcome(rawxpcall(chunk, on_error))
  end

  function engine.eval_tables(chunk, resp3, keys, arguments)
    begin(resp3)
    eval_real.KEYS, eval_real.ARGV = keys, arguments
    return outcome(rawxpcall(chunk, on_error))
  end

  function engine.fcall(f, resp3, count, ...)
    begin(resp3)
    local keys, arguments = split(count, ...)
    return outcome(rawxpcall(function() return (f(keys, arguments)) end, on_error))
  end

  function engine.fcall_tables(f, resp3, keys, arguments)
    begin(resp3)
    return outcome(rawxpcall(function() return (f(keys, arguments)) end, on_error))
  end

  -- FUNCTION LOAD: while a library's code runs it sees only `redis` with what registers functions
  local registered = nil

  local function complain(text)
    error({ err = 'ERR ' .. text }, 0)
  end

  local function put_function(name, body, description, flags)
    if not find(name, '^[%w_]+$') then
      complain('Library names can only contain letters, numbers, or underscores(_) and must be at least one character '
        .. 'long')
    end
    if registered[name] then complain('Function already exists in the library') end
    registered[name] = true
    local n = #registered
    registered[n + 1], registered[n + 2], registered[n + 3], registered[n + 4] = name, body, description or false, flags
  end

  local function named_arguments(t)
    local name, body, description, flags = nil, nil, nil, 0
    for key, value in rawnext, t do
      if key == 'function_name' then
        if type(value) ~= 'string' and type(value) ~= 'number' then
          complain('function_name argument given to redis.register_function must be a string')
        end
        name = tostring(value)
      elseif key == 'description' then
        if type(value) ~= 'string' and type(value) ~= 'number' then
          complain('description argument given to redis.register_function must be a string')
        end
        description = tostring(value)
      elseif key == 'callback' then
        if type(value) ~= 'function' then
          complain('callback argument given to redis.register_function must be a function')
        end
        body = value
      elseif key == 'flags' then
        if type(value) ~= 'table' then
          complain('flags argument to redis.register_function must be a table representing function flags')
        end
        local seen = {}
        for i = 1, #value do
          local flag = type(value[i]) == 'string' and host.flag(value[i]) or 0
          if flag == 0 then complain('unknown flag given') end
          if not seen[flag] then flags = flags + flag end
          seen[flag] = true
        end
      else
        complain('unknown argument given to redis.register_function')
      end
    end
    if name == nil then complain('redis.register_function must get a function name argument') end
    if body == nil then complain('redis.register_function must get a callback argument') end
    return name, body, description, flags
  end

  local load_api = {}
  local shared = { 'log', 'REDIS_VERSION', 'REDIS_VERSION_NUM', 'LOG_DEBUG', 'LOG_VERBOSE', 'LOG_NOTICE',
    'LOG_WARNING' }
  for _, name in ipairs(shared) do
    load_api[name] = api[name]
  end
  function load_api.register_function(...)
    local count = select('#', ...)
    local name, body = ...
    if count < 1 or count > 2 then complain('wrong number of arguments to redis.register_function') end
    if registered == nil then complain('redis.register_function can only be called on FUNCTION LOAD command') end
    if count == 1 then
      if type(name) ~= 'table' then
        complain('calling redis.register_function with a single argument is only applicable to Lua table '
          .. '(representing named arguments).')
      end
      put_function(named_arguments(name))
      return
    end
    if type(name) ~= 'string' and type(name) ~= 'number' then
      complain('first argument to redis.register_function must be a string')
    end
    if type(body) ~= 'function' then complain('second argument to redis.register_function must be a function') end
    put_function(tostring(name), body, nil, 0)
  end
  local load_missing = { __index = missing }
  rawsetmetatable(load_api, load_missing)
  shown_as[load_missing] = false
  local load_world = { redis = library(load_api) }
  local load_guard = { __index = missing_but_server(load_world) }
  shown_as[load_guard] = false
  local load_real = rawsetmetatable(load_world, load_guard)

  function engine.load(chunk)
    registered = {}
    function_guard.__index = load_real
    local ok, problem = rawxpcall(chunk, on_error)
    function_guard.__index = function_real
    local made = registered
    registered = nil
    if killed ~= nil or problem == 'not enough memory' then rawcollect('collect') end
    if killed ~= nil then rearm() end
    if not ok then return nil, type(problem) == 'table' and problem[1] or 'ERR ' .. tostring(problem) end
    return made, #made
  end

  rearm()
end
"""
